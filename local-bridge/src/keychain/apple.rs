//! macOS's login keychain. An item that this program makes opens to this program; any other asks its owner first.

use super::{NoKeychain, SERVICE};
use security_framework::base::Error;
use security_framework::os::macos::keychain::{KeychainUserInteractionLock, SecKeychain};
use security_framework::passwords::{
    PasswordOptions, delete_generic_password, generic_password, set_generic_password,
};
use std::io::{IsTerminal, stdin};

/// There is no such item (`errSecItemNotFound`).
const NOT_FOUND: i32 = -25300;

/// Somebody would have to be asked, and nobody may be (`errSecInteractionNotAllowed`), or said no (`errSecAuthFailed`, `errSecUserCanceled`).
const ASKS: [i32; 3] = [-25308, -25293, -128];

/// There is no keychain (`errSecNoDefaultKeychain`, `errSecNoSuchKeychain`, `errSecNotAvailable`).
const ABSENT: [i32; 3] = [-25307, -25294, -25291];

pub(super) fn keep(name: &str, secret: &str) -> Result<(), NoKeychain> {
    let _quiet = quiet()?;
    set_generic_password(SERVICE, name, secret.as_bytes()).map_err(why)
}

pub(super) fn find(name: &str) -> Result<Option<String>, NoKeychain> {
    let _quiet = quiet()?;
    match generic_password(PasswordOptions::new_generic_password(SERVICE, name)) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(secret) => Ok(Some(secret)),
            Err(_) => Err(NoKeychain::Differs),
        },
        Err(error) if error.code() == NOT_FOUND => Ok(None),
        Err(error) => Err(why(error)),
    }
}

pub(super) fn remove(name: &str) -> Result<bool, NoKeychain> {
    let _quiet = quiet()?;
    match delete_generic_password(SERVICE, name) {
        Ok(()) => Ok(true),
        Err(error) if error.code() == NOT_FOUND => Ok(false),
        Err(error) => Err(why(error)),
    }
}

/// No windows where nobody started this by hand: a service would open one again and again.
fn quiet() -> Result<Option<KeychainUserInteractionLock>, NoKeychain> {
    if stdin().is_terminal() {
        return Ok(None);
    }
    SecKeychain::disable_user_interaction()
        .map(Some)
        .map_err(why)
}

fn why(error: Error) -> NoKeychain {
    let code = error.code();
    let told = error.message().unwrap_or_else(|| format!("error {code}"));
    if ASKS.contains(&code) {
        NoKeychain::Asks
    } else if ABSENT.contains(&code) {
        NoKeychain::Absent(told)
    } else {
        NoKeychain::Refused(told)
    }
}
