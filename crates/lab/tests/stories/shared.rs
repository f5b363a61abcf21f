//! The lab that the stories of a lane share, and a new one after a story that failed: what one
//! broke must not decide the next.

use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;

use super::lanes::Lane;
use super::patience::caught;
use super::world::World;

pub(crate) struct Shared {
    /// It names its lab.
    lane: &'static Lane,
    world: Mutex<Option<World>>,
}

impl Shared {
    /// None is made before the first story.
    pub(crate) const fn new(lane: &'static Lane) -> Self {
        Self { lane, world: Mutex::new(None) }
    }

    /// Tells a story and tidies up after it. The lab of one that failed is taken down.
    pub(crate) fn tell(&self, story: fn(&World) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut held = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            eprintln!("bringing up a lab of three hosts and six guests");
            *held = Some(World::up(self.lane).context("the lab cannot be made")?);
        }
        let world = held.as_ref().context("it was just made")?;
        let told = caught(|| story(world)).and_then(|()| world.tidy().context("after the story"));
        if told.is_err()
            && let Some(broken) = held.take()
            && let Err(error) = broken.down()
        {
            eprintln!("error: the lab of a story that failed left something behind: {error:#}");
        }
        told
    }

    /// Takes the lab down and looks for what it left.
    pub(crate) fn down(&self) -> anyhow::Result<()> {
        let held = self.world.lock().unwrap_or_else(PoisonError::into_inner).take();
        held.map_or(Ok(()), |world| world.down())
    }
}
