//! Container and Policy -> Request: each variable's rule, in one place each.

use std::collections::BTreeMap;

use super::cdi;
use super::env::{self, Item, Special, items, syntax};
use super::mounts::{self, Mounted};
use super::{Asked, CUDA_VERSION, Devices, Policy, Request, Requirement, VISIBLE};
use crate::container::Container;
use crate::finding::{Code, Finding, quote};
use crate::peripheral::Peripheral;

const DISABLE_REQUIRE: &str = "NVIDIA_DISABLE_REQUIRE";

/// Most `NVIDIA_REQUIRE_*` variables of one container; the reference takes 32.
const REQUIREMENT_LIMIT: usize = 64;

pub(super) fn read(container: &Container, policy: &Policy) -> Result<Asked, Finding> {
    let mut notes = Vec::new();
    let mounted = match policy.volume_mounts {
        true => mounts::requested(&container.mounts, &mut notes)?,
        false => Mounted::default(),
    };
    let asker = Asker {
        container,
        policy,
        legacy: has_text(container, CUDA_VERSION) && !has_text(container, "NVIDIA_REQUIRE_CUDA"),
    };
    let Some((mut devices, source)) = asker.devices(&mounted, &mut notes)? else {
        return Ok(Asked {
            request: None,
            notes,
        });
    };
    let (capabilities, note) = env::capabilities(
        container.env("NVIDIA_DRIVER_CAPABILITIES"),
        policy.capabilities,
        asker.legacy,
    )?;
    notes.extend(note);
    let named = cdi::take(&mut devices, container.privileged)?;
    let imex_channels = asker.channels(named.channels, &mounted, &mut notes)?;
    let request = Request {
        devices,
        capabilities,
        requirements: asker.requirements(&mut notes)?,
        imex_channels,
        peripherals: asker.peripherals(named.peripherals, &mut notes),
        management: named.management,
        every_list: container.env("NVIDIA_REQUIRE_JETPACK") == Some("csv-mounts=all"),
        mig_config: asker.all_of_mig("NVIDIA_MIG_CONFIG_DEVICES")?,
        mig_monitor: asker.all_of_mig("NVIDIA_MIG_MONITOR_DEVICES")?,
        source,
    };
    Ok(Asked {
        request: Some(request),
        notes,
    })
}

/// The conditions alone, of an image of today.
pub(super) fn conditions(
    container: &Container,
    policy: &Policy,
) -> Result<Vec<Requirement>, Finding> {
    let asker = Asker {
        container,
        policy,
        legacy: false,
    };
    asker.requirements(&mut Vec::new())
}

fn has_text(container: &Container, variable: &str) -> bool {
    container
        .env(variable)
        .is_some_and(|value| !value.is_empty())
}

fn ignored(message: impl Into<String>, remedy: &str) -> Finding {
    Finding::new(Code::RequestIgnored, message, remedy)
}

/// The parts of one reading that each variable's rule needs.
struct Asker<'a> {
    container: &'a Container,
    policy: &'a Policy,
    /// An image from before NVIDIA_REQUIRE_CUDA.
    legacy: bool,
}

impl<'a> Asker<'a> {
    /// The devices and where they were asked for; `None` where nothing is.
    fn devices(
        &self,
        mounted: &Mounted,
        notes: &mut Vec<Finding>,
    ) -> Result<Option<(Devices, String)>, Finding> {
        if !mounted.devices.is_empty() {
            let items = mounted.devices.iter();
            let items = items.map(|(origin, name)| (origin.as_str(), name.as_str()));
            let devices = env::devices(items)?;
            return Ok(devices.map(|d| (d, "volume mounts".to_owned())));
        }
        let variables = self.device_variables();
        let source = match variables.as_slice() {
            [] if self.legacy => CUDA_VERSION.to_owned(),
            [] => return Ok(None),
            some => some.iter().map(|v| v.0).collect::<Vec<_>>().join(", "),
        };
        let items = variables
            .iter()
            .flat_map(|(name, value)| items(name, value));
        if !variables.is_empty() && matches!(env::special(items.clone()), Special::Void) {
            return Ok(None);
        }
        if variables.is_empty() {
            // Somebody's own CUDA_VERSION ("cu121") does not make a GPU container.
            let version = self.container.env(CUDA_VERSION).unwrap_or_default();
            if env::legacy_requirement(version).is_none() {
                let message = format!(
                    "{CUDA_VERSION} {} is no version: no GPU is asked for",
                    quote(version)
                );
                notes.push(ignored(
                    message,
                    "set NVIDIA_VISIBLE_DEVICES to ask for GPUs",
                ));
                return Ok(None);
            }
        }
        if !self.may_ask_by_variable() {
            notes.push(ignored(
                format!("what {source} asks for was ignored: the container is not privileged"),
                "allow it in the configuration file (env-when-unprivileged, or NVIDIA's \
                 accept-nvidia-visible-devices-envvar-when-unprivileged), or ask by volume mounts",
            ));
            return Ok(None);
        }
        if variables.is_empty() {
            return Ok(Some((Devices::All, source)));
        }
        Ok(env::devices(items)?.map(|d| (d, source)))
    }

    /// The variables that name devices: those of Docker swarm where one is set, else the usual one.
    fn device_variables(&self) -> Vec<Item<'a>> {
        let set = |name: &'a str| Some((name, self.container.env(name)?));
        let swarm = self.policy.swarm_resources.iter();
        let swarm: Vec<Item<'a>> = swarm.filter_map(|name| set(name)).collect();
        match swarm.is_empty() {
            true => set(VISIBLE).into_iter().collect(),
            false => swarm,
        }
    }

    fn may_ask_by_variable(&self) -> bool {
        self.container.privileged || self.policy.env_when_unprivileged
    }

    fn requirements(&self, notes: &mut Vec<Finding>) -> Result<Vec<Requirement>, Finding> {
        let disabled = self.container.env(DISABLE_REQUIRE).unwrap_or_default();
        let disabled = env::switch(disabled).unwrap_or_else(|other| {
            let message = format!(
                "{DISABLE_REQUIRE} {} is no switch: requirements are checked",
                quote(other)
            );
            notes.push(ignored(message, "use true or false"));
            false
        });
        if disabled || self.policy.disable_require {
            return Ok(Vec::new());
        }
        let mut found = BTreeMap::new();
        for entry in &self.container.env {
            if let Some((name, expression)) = entry.split_once('=')
                && name.starts_with("NVIDIA_REQUIRE_")
                && !name.starts_with("NVIDIA_REQUIRE_JETPACK")
            {
                found.insert(name, expression.trim());
            }
        }
        found.retain(|_, expression| !expression.is_empty());
        if found.len() > REQUIREMENT_LIMIT {
            let what = format!("more than {REQUIREMENT_LIMIT} variables");
            return Err(syntax("NVIDIA_REQUIRE_*", what, "set fewer of them"));
        }
        let of = |(name, expression): (&str, &str)| Requirement {
            name: name.to_owned(),
            expression: expression.to_owned(),
        };
        let mut requirements: Vec<Requirement> = found.into_iter().map(of).collect();
        if self.legacy {
            let version = self.container.env(CUDA_VERSION).unwrap_or_default();
            let implied = env::legacy_requirement(version).ok_or_else(|| {
                syntax(
                    CUDA_VERSION,
                    format!("{} is no version", quote(version)),
                    "use MAJOR.MINOR (12.4), or set NVIDIA_DISABLE_REQUIRE=true",
                )
            })?;
            requirements.push(implied);
        }
        Ok(requirements)
    }

    /// IMEX channels: those that are `named` among the devices, and those of mounts or the variable.
    fn channels(
        &self,
        named: Vec<u32>,
        mounted: &Mounted,
        notes: &mut Vec<Finding>,
    ) -> Result<Vec<u32>, Finding> {
        const NAME: &str = "NVIDIA_IMEX_CHANNELS";
        let by_mount = !mounted.channels.is_empty();
        let value = self.container.env(NAME).unwrap_or_default();
        let special = env::special(items(NAME, value));
        let asks = by_mount || !matches!(special, Special::Void | Special::None);
        if self.policy.ignore_imex && (asks || !named.is_empty()) {
            notes.push(ignored(
                "IMEX channels were asked for and ignored",
                "allow them in the configuration file (ignore-imex-channels, or NVIDIA's \
                 features.ignore-imex-channel-requests)",
            ));
            return Ok(Vec::new());
        }
        let mut channels = named;
        if by_mount || (asks && self.may_ask_by_variable()) {
            let asked = if by_mount {
                let items = mounted.channels.iter();
                env::channels(items.map(|(origin, channel)| (origin.as_str(), channel.as_str())))?
            } else {
                env::channels(items(NAME, value))?
            };
            match asked {
                Some(asked) => channels.extend(asked),
                None => notes.push(ignored(
                    "all IMEX channels were asked for and ignored: channels are granted by number",
                    "name the channels: NVIDIA_IMEX_CHANNELS=0,1",
                )),
            }
        } else if asks {
            let message = format!("{NAME} was ignored: the container is not privileged");
            notes.push(ignored(message, "ask by volume mounts"));
        }
        channels.sort_unstable();
        channels.dedup();
        Ok(channels)
    }

    /// Hardware beside the GPUs. The reference's word is `enabled`, and it ignores all others.
    fn peripherals(&self, named: Vec<Peripheral>, notes: &mut Vec<Finding>) -> Vec<Peripheral> {
        let mut asked = named;
        for kind in Peripheral::ALL {
            let variable = kind.variable();
            match self.container.env(variable).unwrap_or_default() {
                "" | "disabled" => {}
                "enabled" if self.may_ask_by_variable() => asked.push(kind),
                "enabled" => notes.push(ignored(
                    format!("{variable} was ignored: the container is not privileged"),
                    "allow variables in the configuration file (env-when-unprivileged)",
                )),
                other => notes.push(ignored(
                    format!("{variable} {} was ignored", quote(other)),
                    "the word is enabled",
                )),
            }
        }
        asked.sort_unstable();
        asked.dedup();
        asked
    }

    /// Whether `variable` asks for all of MIG's configuration or monitoring.
    fn all_of_mig(&self, variable: &'static str) -> Result<bool, Finding> {
        let value = self.container.env(variable).unwrap_or_default();
        if value.is_empty() {
            Ok(false)
        } else if !self.container.privileged {
            Err(Finding::new(
                Code::RequestDenied,
                format!("{variable} is for privileged containers only"),
                "unset it, or run the container with CAP_SYS_ADMIN",
            ))
        } else if value == "all" {
            Ok(true)
        } else {
            let what = format!("{} is not all, the only value that there is", quote(value));
            Err(syntax(variable, what, "use all, or unset it"))
        }
    }
}
