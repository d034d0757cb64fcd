//! What a command can be fenced in with on this machine: all of it or nothing, never less without a word.

use crate::policy::{Command as Rule, Policy, Sandbox};
use std::path::Path;
use std::process::Command;

/// What this machine has to fence commands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fence {
    /// Nothing that could be enforced whole; this is why.
    Missing(&'static str),
}

/// A command must be fenced in and cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "sandbox_unavailable: {0}, and the policy demands a sandbox; with sandbox = \"none\" in policy.toml its owner can allow commands without one"
)]
pub struct NoFence(&'static str);

impl Fence {
    /// Looks at what this machine has.
    pub fn find() -> Self {
        Self::Missing("this system offers no sandbox that local-bridge can enforce")
    }

    /// Whether commands can run at all under a policy's demand.
    pub fn allows(&self, wanted: Sandbox) -> bool {
        self.shortfall(wanted).is_none()
    }

    /// Why commands cannot run under a policy's demand.
    pub fn shortfall(&self, wanted: Sandbox) -> Option<NoFence> {
        match (self, wanted) {
            (_, Sandbox::None) => None,
            (Self::Missing(why), Sandbox::Required) => Some(NoFence(why)),
        }
    }

    /// The beginning of a command as the policy demands it: without arguments, environment or folder.
    pub fn command(
        &self,
        policy: &Policy,
        rule: &Rule,
        _scratch: &Path,
    ) -> Result<Command, NoFence> {
        use std::os::unix::process::CommandExt;
        match (self, policy.sandbox) {
            (_, Sandbox::None) => {
                let mut command = Command::new(&rule.program);
                command.arg0(&rule.argv[0]);
                Ok(command)
            }
            (Self::Missing(why), Sandbox::Required) => Err(NoFence(why)),
        }
    }
}
