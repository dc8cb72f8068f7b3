#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oci_gpu_fuzz_targets::device_name::check(data));
