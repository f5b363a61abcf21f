//! Going on with a transfer that broke after the switch to post-copy.

use std::time::Duration;

use drover_model::{BrokenStream, NoRecovery, recovers_post_copy};
use drover_ports::OutgoingMigration;
use virt_sys as sys;

use crate::connection::Connection;
use crate::error::LibvirtError;
use crate::outgoing;
use crate::parse;

/// How long the target may take to say what it has, and then to break its end of the stream.
const TARGET_WAIT: Duration = Duration::from_secs(3);

/// A stream that still stands and is to be left alone is: libvirt here refuses then ("QEMU reports
/// migration is still running") before it asks the target for anything.
pub(crate) fn go_on(
    connection: &Connection,
    migration: &OutgoingMigration,
    stream: BrokenStream,
) -> Result<(), LibvirtError> {
    can_go_on(connection, migration, BrokenStream::Leave)?;
    let domain = connection.domain(migration.guest)?;
    if stream == BrokenStream::Sever {
        // A stream that hangs is not broken for QEMU: both ends are told, here and there.
        // Refused where it is broken already.
        let _ = domain.abort_post_copy();
        can_go_on(connection, migration, stream)?;
    }
    // That it is refused means to the caller that it never can be done. libvirt's own refusals
    // have many causes, lost lines among them.
    let outcome = domain.migrate(&outgoing::go_on(migration));
    outcome.map_err(|error| error.not_for_good(migration.guest))
}

/// What the target has of the guest, and is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target {
    has_half: bool,
    libvirt: (u32, u32, u32),
}

/// Fails where the target has lost its half, does not answer, or has a libvirt that must not be
/// asked.
fn can_go_on(
    connection: &Connection,
    migration: &OutgoingMigration,
    stream: BrokenStream,
) -> Result<(), LibvirtError> {
    let (_, library) = connection.versions()?;
    judge(parse::version(library), ask(migration, stream))
}

fn judge(source: (u32, u32, u32), target: Option<Target>) -> Result<(), LibvirtError> {
    let error = |code, message: String| Err(LibvirtError { code, message });
    match target {
        None => error(sys::VIR_ERR_RPC, "libvirtd on the target does not answer".to_owned()),
        Some(Target { has_half: false, .. }) => {
            error(sys::VIR_ERR_NO_DOMAIN, "the target has no half of it".to_owned())
        }
        Some(Target { libvirt, .. }) => {
            let ((major, minor, release), side) =
                match recovers_post_copy((source.0, source.1), (libvirt.0, libvirt.1)) {
                    Ok(()) => return Ok(()),
                    Err(NoRecovery::Source) => (source, "source"),
                    Err(NoRecovery::Target) => (libvirt, "target"),
                };
            let message = format!(
                "libvirt {major}.{minor}.{release} on the {side} cannot: 8.5.0 is the first that \
                 can, and targets of 11.2 and 11.3 crash"
            );
            error(sys::VIR_ERR_OPERATION_UNSUPPORTED, message)
        }
    }
}

/// The target's end of a stream that survived a cut of the line believes that it still runs.
/// libvirt there may not return from the call that breaks it, and has heard it all the same.
fn ask(migration: &OutgoingMigration, stream: BrokenStream) -> Option<Target> {
    let (uri, guest) = (migration.peer_uri.clone(), migration.guest);
    let (done, waiting) = std::sync::mpsc::channel();
    let told = std::thread::Builder::new().name("libvirt-peer".to_owned()).spawn(move || {
        // Nobody listens to the peer's events, nor to the answers once nobody waits any more.
        let (notices, _) = std::sync::mpsc::channel();
        let Ok(peer) = Connection::open(&uri, notices) else { return };
        let Ok((_, library)) = peer.versions() else { return };
        let state = peer.domain(guest).and_then(|domain| domain.state());
        let has_half = match state {
            // Of one whose process has ended a definition is all that is left.
            Ok(state) => parse::guest_state(state).is_active(),
            Err(error) if error.code == sys::VIR_ERR_NO_DOMAIN => false,
            Err(_) => return,
        };
        let target = Target { has_half, libvirt: parse::version(library) };
        let _ = done.send(target);
        if has_half && stream == BrokenStream::Sever {
            let _ = peer.domain(guest).and_then(|domain| domain.abort_post_copy());
            let _ = done.send(target);
        }
    });
    told.ok()?;
    let said = waiting.recv_timeout(TARGET_WAIT).ok()?;
    if said.has_half && stream == BrokenStream::Sever {
        // The second word comes when it is broken there.
        let _ = waiting.recv_timeout(TARGET_WAIT);
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_asked_only_where_that_helps_and_does_not_harm() {
        let code = |target| judge((9, 0, 0), target).err().map(|error| error.code);
        let with = |libvirt| Some(Target { has_half: true, libvirt });
        assert_eq!(code(with((9, 0, 0))), None);
        assert_eq!(code(with((11, 3, 0))), Some(sys::VIR_ERR_OPERATION_UNSUPPORTED));
        assert_eq!(code(with((8, 4, 0))), Some(sys::VIR_ERR_OPERATION_UNSUPPORTED));
        let lost = Target { has_half: false, libvirt: (11, 3, 0) };
        assert_eq!(code(Some(lost)), Some(sys::VIR_ERR_NO_DOMAIN));
        assert_eq!(code(None), Some(sys::VIR_ERR_RPC), "a version that is not known may crash");
        let told = judge((8, 4, 0), with((9, 0, 0))).unwrap_err();
        assert!(told.message.contains("libvirt 8.4.0 on the source"), "{told:?}");
        assert_eq!(judge((11, 3, 0), with((12, 9, 0))), Ok(()));
    }

    #[test]
    fn only_what_never_can_be_done_is_refused() {
        let guest = drover_model::GuestId::from_u128(1);
        let kind = |code| {
            let error = LibvirtError { code, message: "m".to_owned() };
            error.not_for_good(guest).translate(Some(guest))
        };
        use drover_ports::HypervisorError as H;
        // What libvirt says of a stream that breaks anew.
        assert!(matches!(kind(sys::VIR_ERR_OPERATION_FAILED), H::Broken(_)));
        assert!(matches!(kind(sys::VIR_ERR_MIGRATE_UNSAFE), H::Broken(_)));
        assert!(matches!(kind(sys::VIR_ERR_OPERATION_INVALID), H::Conflict(_)));
        assert!(matches!(kind(sys::VIR_ERR_NO_DOMAIN), H::Gone(_)));
        assert!(matches!(kind(sys::VIR_ERR_RPC), H::Retry(_)));
    }
}
