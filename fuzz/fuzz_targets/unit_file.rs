#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fleet_fuzz::run("unit_file", input));
