use std::time::Instant;
fn main() {
    let root = std::env::args().nth(1).unwrap();
    for _ in 0..1 {
        let t = Instant::now();
        let host = oci_gpu::Host::at(&root);
        let inv = oci_gpu::discover_within(&host, &oci_gpu::Scope{capabilities: oci_gpu::CapabilitySet::default_set(), imex_channels:false}).unwrap();
        println!("discover {:?} libs {}", t.elapsed(), inv.libraries.len());
    }
}
