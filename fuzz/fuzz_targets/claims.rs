//! A header and claims, a line each, that the right key signs.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::held(fuzz::wire::claims(bytes)));
