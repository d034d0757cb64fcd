//! The bridge's own law: what it accepts, what it allows, who may change it, and four hundred ways around it.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod append;
mod corpus;
mod edit;
mod file;
mod git;
mod harsher;
mod last;
mod programs;
mod world;
