#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fleet_fuzz::run("page_token", input));
