//! End to end: the built Worker on workerd and the real bridge, between a Telegram and model servers that forgive nothing.
//!
//! Needs what `cargo xtask build-worker` and `cargo build -p local-bridge` leave behind.

mod kit;

mod actions;
mod approvals;
mod attacks;
mod bounds;
mod chores;
mod doors;
mod files;
mod freeze;
mod home;
mod kills;
mod liars;
mod memory;
mod models;
mod outside;
mod page;
mod people;
mod previews;
mod storms;
mod whatsapp;
