//! The hands: carries out signed calls on one machine, and only ever dials out. Read this first.
//!
//! - [`tunnel`] is the only network: it dials the Worker, proves both sides, and comes back after a loss.
//! - [`calls`] decides which calls run: it checks each warrant, asks the [`journal`] whether the call is known, and keeps results until
//!   they are acknowledged.
//! - [`policy`] is this machine's own law; nothing that comes over the tunnel can change it.
//! - [`places`] turns paths into opened files, below the folders that the policy opens and nowhere else.
//! - [`tools`] does what is left to do; [`sandbox`] is what commands run behind.
//! - [`home`] is the bridge's own folder, [`pair`] the handshake that fills it.

pub mod calls;
pub mod home;
pub mod journal;
pub mod pair;
pub mod places;
pub mod policy;
pub mod sandbox;
pub mod tools;
pub mod tunnel;
