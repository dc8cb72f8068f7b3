#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oci_gpu_fuzz_targets::stored::check(data));
