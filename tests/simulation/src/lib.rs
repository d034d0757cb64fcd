//! Bernard's life in a made-up world. A seed decides a history: what the person writes, what the model answers, what machines do, and
//! all that goes wrong meanwhile. The real machine (`agent`), the real driver (`driver`) and the bridge's real logic
//! (`local_bridge::calls`) live in it; everything around them is a model:
//!
//! - `world.rs`: who is there, and what may happen next. It begins stormy and ends calm: then everyone comes back and all must end.
//! - `shell.rs`: the Durable Object around the driver. It performs acts stage by stage, and dies between any two.
//! - `rows.rs`, `tables.rs`: the object's `SQLite`; each write may be refused, or kill the instance before or after it.
//! - `home.rs`, `records.rs`: a machine, its tools, its disk, and the bridge's journal, as mortal as the object.
//! - `channel.rs`: the chat's provider and the person's pages. `model.rs`: the model.
//! - `weather.rs`, `chance.rs`: the clock, the dice, how much goes wrong.
//! - `promises.rs`: what must hold in the end. Some of it is watched all along: nothing takes effect or is sent twice.
//! - `faults.rs`: deliberate mistakes that must be caught, to show that the promises have teeth.
//!
//! [`play`] lives one seed through; [`tell`] does it again and writes the story down.

mod chance;
mod channel;
mod faults;
mod home;
mod model;
mod promises;
mod records;
mod rows;
mod shell;
mod tables;
mod weather;
mod world;

pub use faults::Fault;

use world::World;

/// Lives through the history that a seed decides, with a fault in it if one is named; tells the promise that was broken, if any.
pub fn play(seed: u64, fault: Option<Fault>) -> Result<(), String> {
    let mut world = World::new(seed, fault, false);
    world.live();
    world.weather.verdict().map_or(Ok(()), Err)
}

/// The story of a seed's history, a line for each thing that happened.
pub fn tell(seed: u64, fault: Option<Fault>) -> Vec<String> {
    let mut world = World::new(seed, fault, true);
    world.live();
    world.weather.story()
}
