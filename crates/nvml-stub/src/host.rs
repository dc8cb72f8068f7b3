//! The host that the library tells about.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

/// What the file says.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) driver: String,
    pub(crate) cuda: i32,
    pub(crate) init: Option<String>,
    /// A file that takes another's place in nvmlInit.
    pub(crate) starts: Option<(PathBuf, PathBuf)>,
    pub(crate) aborts_in: Vec<String>,
    pub(crate) gpus: Vec<Gpu>,
}

/// A GPU.
#[derive(Default)]
pub(crate) struct Gpu {
    pub(crate) uuid: String,
    pub(crate) bus_id: String,
    pub(crate) minor: u32,
    pub(crate) brand: u32,
    pub(crate) arch: (i32, i32),
    /// `None`: the model cannot be split.
    pub(crate) mig_mode: Option<bool>,
    pub(crate) lost: bool,
    pub(crate) instances: Vec<Instance>,
}

/// A MIG instance.
pub(crate) struct Instance {
    pub(crate) gi: u32,
    pub(crate) ci: u32,
    pub(crate) uuid: String,
}

/// The host, read once.
pub(crate) fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| {
        let text = file().and_then(|file| fs::read_to_string(file).ok());
        text.as_deref().map(parse).unwrap_or_default()
    })
}

/// The file beside this library, which is among the files that this process has mapped.
fn file() -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps
        .lines()
        .filter_map(|line| line.find('/').and_then(|at| line.get(at..)))
        .find(|path| path.contains("/libnvidia-ml.so"))?;
    Some(PathBuf::from(path).parent()?.join("nvml-stub.conf"))
}

/// A line that is wrong is not there: a test then fails by what it lacks.
fn parse(text: &str) -> Host {
    let mut host = Host::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["driver", version] => host.driver = version.to_owned(),
            ["cuda", number] => host.cuda = number.parse().unwrap_or_default(),
            ["init", how] => host.init = Some(how.to_owned()),
            ["starts", from, to] => host.starts = Some((from.into(), to.into())),
            ["abort", function] => host.aborts_in.push(function.to_owned()),
            ["gpu", uuid, bus_id, minor, brand, arch, mig] => {
                let (major, rest) = arch.split_once('.').unwrap_or_default();
                host.gpus.push(Gpu {
                    uuid: uuid.to_owned(),
                    bus_id: bus_id.to_owned(),
                    minor: minor.parse().unwrap_or_default(),
                    brand: brand.parse().unwrap_or_default(),
                    arch: (
                        major.parse().unwrap_or_default(),
                        rest.parse().unwrap_or_default(),
                    ),
                    mig_mode: match mig {
                        "on" => Some(true),
                        "off" => Some(false),
                        _ => None,
                    },
                    ..Gpu::default()
                });
            }
            ["lost"] => {
                if let Some(gpu) = host.gpus.last_mut() {
                    gpu.lost = true;
                }
            }
            ["mig", gi, ci, uuid] => {
                if let (Some(gpu), Ok(gi), Ok(ci)) = (host.gpus.last_mut(), gi.parse(), ci.parse())
                {
                    let uuid = uuid.to_owned();
                    gpu.instances.push(Instance { gi, ci, uuid });
                }
            }
            _ => {}
        }
    }
    host
}
