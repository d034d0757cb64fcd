//! The hands: carries out signed calls on one machine, and only ever dials out. Read this first.
//!
//! - [`tunnel`] is the only network: it dials the Worker, proves both sides, and comes back after a loss.
//! - [`guard`] holds the keys of a session: it checks each warrant before anything else sees what is ordered, and signs receipts.
//! - [`calls`] decides which calls run: it asks the [`journal`] whether a call is known, and keeps results until they are acknowledged.
//! - [`policy`] is this machine's own law; nothing that comes over the tunnel can change it.
//! - [`places`] turns paths into opened files, below the folders that the policy opens and nowhere else.
//! - [`undo`] keeps what was there before each change of a file, so that it can be taken back.
//! - [`approve`] holds back what needs a yes at home until its owner has said it there.
//! - [`tools`] does what is left to do; [`sandbox`] is what commands run behind.
//! - [`intake`] judges the files that the Worker sends, piece by piece.
//! - [`processes`] keeps the programs that go on in the background, [`outputs`] all that commands wrote.
//! - [`home`] is the bridge's own folder, [`pair`] the handshake that fills it, [`keychain`] where its key lies if not there.
//! - [`status`], [`doctor`] and [`audit`] tell its owner how things stand; [`install`] starts it with the machine, [`logs`] keeps its log small.

pub mod approve;
pub mod audit;
pub mod calls;
pub mod doctor;
pub mod guard;
pub mod home;
pub mod install;
pub mod intake;
pub mod journal;
pub mod keychain;
pub mod logs;
pub mod outputs;
pub mod pair;
pub mod places;
pub mod policy;
pub mod processes;
pub mod sandbox;
pub mod status;
pub mod tools;
pub mod tunnel;
pub mod undo;
