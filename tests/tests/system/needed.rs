//! The nodes that the hook would make for a container are those that its plan has.

use std::collections::BTreeSet;
use std::path::PathBuf;

use oci_gpu::container::ContainerFacts;
use oci_gpu::discover::needed_nodes;
use oci_gpu::plan::Operation;
use oci_gpu::request::Devices;
use oci_gpu::{Capability, CapabilitySet, Plan, Request, discover, select};
use oci_gpu_sim::HostSpec;
use oci_gpu_tests::sim::SimHost;

/// For every set of capabilities that decides about nodes, whole GPUs, instances, channels and
/// everything.
#[test]
fn what_is_made_is_what_the_plan_has() {
    let mut spec = HostSpec::named("run-8-mig").unwrap();
    spec.imex_channels = vec![0, 7];
    let host = SimHost::of(spec).unwrap();
    let inventory = discover(&host.host()).unwrap();
    let facts = ContainerFacts::of(|path| path == "/proc/driver/nvidia");
    let choice = [
        Capability::Compute,
        Capability::Display,
        Capability::Graphics,
    ];
    for bits in 0..8_u8 {
        let chosen = choice
            .iter()
            .enumerate()
            .filter(|(i, _)| bits & (1 << i) != 0);
        let capabilities: CapabilitySet = chosen.map(|(_, c)| *c).collect();
        for devices in ["all", "none", "0,3", "1:0,4:2", "6"] {
            for (channels, management) in [(&[][..], false), (&[0, 7], false), (&[], true)] {
                let devices_asked = match devices {
                    "all" => Devices::All,
                    "none" => Devices::DriverOnly,
                    list => Devices::List(list.split(',').map(|id| id.parse().unwrap()).collect()),
                };
                let mut request = Request::new(devices_asked, capabilities, "test");
                request.imex_channels = channels.to_vec();
                request.management = management;
                let grant = select(&inventory, &request).unwrap();
                let plan = Plan::new(&inventory, &grant, &facts).unwrap();
                let planned: BTreeSet<(PathBuf, bool)> = plan
                    .actions
                    .iter()
                    .filter_map(|a| match &a.what {
                        // DRM's nodes are the kernel's own business.
                        Operation::Device { source, .. } if !source.starts_with("/dev/dri") => {
                            Some((source.clone(), a.required))
                        }
                        _ => None,
                    })
                    .collect();
                let needed = needed_nodes(&host.host(), &request).unwrap().into_iter();
                let needed: BTreeSet<_> = needed.map(|n| (n.node.path, n.required)).collect();
                let what = format!("{capabilities:?} {devices} {channels:?} {management}");
                assert_eq!(needed, planned, "{what}");
            }
        }
    }
}
