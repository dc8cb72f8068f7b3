//! A container on a simulated host, and what is planned for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use oci_gpu::container::ContainerFacts;
use oci_gpu::elf::{Class, Machine};
use oci_gpu::finding::Finding;
use oci_gpu::plan::{BindKind, Operation};
use oci_gpu::{Action, Container, Grant, Inventory, Plan, Policy, Request, discover, select};
use oci_gpu_sim::HostSpec;
use oci_gpu_tests::sim::SimHost;
use serde_json::json;

/// What discovery found on the built-in host of that name; each host is made once.
pub(crate) fn inventory(name: &str) -> Arc<Inventory> {
    static KNOWN: Mutex<BTreeMap<String, Arc<Inventory>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(|e| e.into_inner());
    let inventory = known.entry(name.to_owned()).or_insert_with(|| {
        let host = SimHost::named(name).unwrap();
        Arc::new(discover(&host.host()).unwrap_or_else(|e| panic!("{name}: {e}")))
    });
    Arc::clone(inventory)
}

/// What discovery finds on the built-in host once `change` was made to its description.
pub(crate) fn changed(name: &str, change: impl FnOnce(&mut HostSpec)) -> Inventory {
    let mut spec = HostSpec::named(name).unwrap();
    change(&mut spec);
    discover(&SimHost::of(spec).unwrap().host()).unwrap()
}

/// Roots that containers have, by what is seen in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    Debian,
    /// /usr/lib64 and, for 32-bit libraries, /usr/lib.
    Fedora,
    /// Nothing but an empty root.
    Scratch,
    Alpine,
}

impl Image {
    pub(crate) const ALL: [Image; 4] =
        [Image::Debian, Image::Fedora, Image::Scratch, Image::Alpine];

    /// Facts about such a root on an x86-64 machine.
    pub(crate) fn facts(self) -> ContainerFacts {
        let paths: &[&str] = match self {
            Image::Debian => &["/etc/debian_version", "/usr/lib"],
            Image::Fedora => &["/usr/lib", "/lib64/libc.so.6"],
            Image::Scratch => &[],
            Image::Alpine => &["/lib/ld-musl-x86_64.so.1", "/usr/lib"],
        };
        let exists = |path: &str| path == "/proc/driver/nvidia" || paths.contains(&path);
        let mut facts = ContainerFacts::of(exists);
        facts.native = (Class::Elf64, Machine::X86_64);
        facts
    }

    pub(crate) fn lib_dir(self) -> &'static str {
        match self {
            Image::Debian => "/usr/lib/x86_64-linux-gnu",
            Image::Fedora | Image::Scratch => "/usr/lib64",
            Image::Alpine => "/usr/lib",
        }
    }

    /// Where X servers of such a distribution have their modules.
    pub(crate) fn xorg_dir(self) -> &'static str {
        match self {
            Image::Debian | Image::Alpine => "/usr/lib/xorg/modules",
            Image::Fedora | Image::Scratch => "/usr/lib64/xorg/modules",
        }
    }

    pub(crate) fn lib32_dir(self) -> Option<&'static str> {
        match self {
            Image::Debian => Some("/usr/lib/i386-linux-gnu"),
            Image::Fedora => Some("/usr/lib"),
            Image::Scratch => Some("/usr/lib32"),
            Image::Alpine => None,
        }
    }
}

/// A container with that environment.
pub(crate) fn container(env: &[&str], privileged: bool) -> Container {
    let bounding = match privileged {
        true => vec!["CAP_SYS_ADMIN"],
        false => vec!["CAP_CHOWN"],
    };
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {"env": env, "capabilities": {"bounding": bounding}},
        "root": {"path": "rootfs"},
    });
    Container::parse(config.to_string().as_bytes()).unwrap()
}

/// What that environment asks for; it must ask for something.
pub(crate) fn request(env: &[&str], privileged: bool) -> Result<Request, Finding> {
    let asked = Request::read(&container(env, privileged), &Policy::default())?;
    Ok(asked
        .request
        .unwrap_or_else(|| panic!("{env:?} asks for nothing")))
}

/// What a container gets, and all that led to it.
pub(crate) struct Planned {
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) request: Request,
    pub(crate) grant: Grant,
    pub(crate) plan: Plan,
}

/// What a container of a Debian image with that environment gets on the built-in host.
pub(crate) fn plan(host: &str, env: &[&str]) -> Result<Planned, Finding> {
    plan_in(inventory(host), env, false, Image::Debian)
}

pub(crate) fn plan_in(
    inventory: Arc<Inventory>,
    env: &[&str],
    privileged: bool,
    image: Image,
) -> Result<Planned, Finding> {
    let request = request(env, privileged)?;
    let grant = select(&inventory, &request)?;
    let plan = Plan::new(&inventory, &grant, &image.facts())?;
    Ok(Planned {
        inventory,
        request,
        grant,
        plan,
    })
}

impl Planned {
    /// The devices as "TARGET MAJOR:MINOR", in the plan's order.
    pub(crate) fn devices(&self) -> Vec<String> {
        let device = |a: &Action| match &a.what {
            Operation::Device {
                target,
                major,
                minor,
                ..
            } => Some(format!("{} {major}:{minor}", target.display())),
            _ => None,
        };
        self.plan.actions.iter().filter_map(device).collect()
    }

    /// Why the item that ends in `name` was left out.
    pub(crate) fn skipped(&self, name: &str) -> &str {
        let found = self.plan.skipped.iter().find(|s| s.what.ends_with(name));
        let found = found.unwrap_or_else(|| panic!("{name} in {:#?}", self.plan.skipped));
        &found.why
    }
}

/// The environment of a container that asks for GPU 0 with these capabilities.
pub(crate) fn capable(capabilities: &str) -> [String; 2] {
    [
        "NVIDIA_VISIBLE_DEVICES=0".to_owned(),
        format!("NVIDIA_DRIVER_CAPABILITIES={capabilities}"),
    ]
}

/// What such a container gets; it must get something.
pub(crate) fn planned(host: Arc<Inventory>, capabilities: &str, image: Image) -> Planned {
    let env = capable(capabilities);
    let env: Vec<&str> = env.iter().map(String::as_str).collect();
    plan_in(host, &env, false, image).unwrap_or_else(|e| panic!("{capabilities}, {image:?}: {e}"))
}

/// Targets of the files of that kind, sorted.
pub(crate) fn targets(plan: &Plan, kind: BindKind) -> BTreeSet<String> {
    let target = |a: &Action| match &a.what {
        Operation::Bind {
            kind: k, target, ..
        } if *k == kind => Some(target.display().to_string()),
        _ => None,
    };
    plan.actions.iter().filter_map(target).collect()
}
