//! End to end: the built Worker on workerd and the real bridge, between a Telegram and model servers that forgive nothing.
//!
//! Needs what `cargo xtask build-worker` and `cargo build -p local-bridge` leave behind.

mod kit;

mod actions;
mod approvals;
mod attacks;
mod bounds;
mod doors;
mod freeze;
mod home;
mod kills;
mod liars;
mod memory;
mod models;
mod outside;
mod page;
mod storms;
