//! Definitions and images.

use drover_model::{Bytes, GuestState};

use super::Rig;
use crate::HypervisorError;
use crate::contract::report::{promise, promise_eq};
use crate::contract::{Kept, Unkept};

pub(super) async fn a_definition_can_be_carried_to_another_host(rig: Rig) -> Kept {
    let all = rig.source.definitions().await?;
    let mine = all.into_iter().find(|(guest, _)| *guest == rig.guest);
    let (_, definition) = mine.ok_or_else(|| Unkept("the guest has no definition".to_owned()))?;
    promise!(definition.contains(&rig.guest.to_string()), "no id in {definition}");
    for _ in 0..2 {
        rig.target.define(rig.guest, definition.clone()).await?;
        promise_eq!(rig.state(&rig.target).await?, Some(GuestState::ShutOff), "once defined");
    }
    let there = rig.target.definitions().await?;
    promise!(there.iter().any(|(guest, _)| *guest == rig.guest), "it is not told there");
    promise_eq!(rig.state(&rig.source).await?, Some(GuestState::Running), "at the source");
    for _ in 0..2 {
        rig.target.undefine(rig.guest).await?;
        promise_eq!(rig.state(&rig.target).await?, None, "once undefined");
    }
    let started = rig.target.start_guest(rig.guest).await;
    promise!(matches!(started, Err(HypervisorError::Gone(_))), "started from nothing: {started:?}");
    Ok(())
}

pub(super) async fn a_definition_of_an_active_guest_stays(rig: Rig) -> Kept {
    rig.source.start_guest(rig.guest).await?;
    let undefined = rig.source.undefine(rig.guest).await;
    promise!(matches!(undefined, Err(HypervisorError::Conflict(_))), "undefine: {undefined:?}");
    let listed = rig.listed(&rig.source).await?;
    let kept = listed.is_some_and(|guest| guest.persistent && guest.state == GuestState::Running);
    promise!(kept, "it does not run on with its definition");
    Ok(())
}

pub(super) async fn an_image_of_nobody_cannot_be_written(rig: Rig) -> Kept {
    let missing = "/nowhere/drover-contract.img";
    let opened = rig.source.open_image(&rig.dead_peer_uri, missing, Bytes(1)).await;
    promise!(matches!(opened, Err(HypervisorError::Retry(_))), "at a dead peer");
    let opened = rig.source.open_image(&rig.peer_uri, missing, Bytes(1)).await;
    promise!(opened.is_err(), "an image that is not there");
    Ok(())
}
