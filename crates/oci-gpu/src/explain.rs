//! A plan as text and as JSON: what would be injected, why, and what was refused and why.
//!
//! The JSON is stable: members are added, never renamed or removed.
//!
//! ```text
//! {"request": {"devices": [..], "capabilities": [..], "requirements": [..], "imexChannels": [..],
//!              "source": ".."} or null,
//!  "gpus": [{"index", "uuid", "minor", "busId", "model"}],
//!  "items": [{"kind", "source", "target", "required", "why"}],
//!  "skipped": [{"what", "why"}],
//!  "errors": [{"code", "message"}]}
//! ```

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::capability::Capability;
use crate::finding::{Code, Finding, one_line};
use crate::inventory::{Candidate, Gpu, Inventory};
use crate::plan::{BindKind, Operation, Plan, Skipped};
use crate::request::{Devices, Request};
use crate::select::Grant;

/// What is known about a container: as much of the data flow as there was.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    request: Option<Asked>,
    gpus: Vec<Granted>,
    items: Vec<Item>,
    skipped: Vec<Skip>,
    errors: Vec<Problem>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    devices: Vec<String>,
    capabilities: Vec<Capability>,
    requirements: Vec<String>,
    imex_channels: Vec<u32>,
    source: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Granted {
    index: u32,
    uuid: Option<String>,
    minor: u32,
    bus_id: String,
    model: String,
}

#[derive(Clone, Debug, Serialize)]
struct Item {
    kind: &'static str,
    source: Option<String>,
    target: String,
    required: bool,
    why: String,
}

#[derive(Clone, Debug, Serialize)]
struct Skip {
    what: String,
    why: String,
}

#[derive(Clone, Debug, Serialize)]
struct Problem {
    code: String,
    message: String,
}

impl Explanation {
    /// An explanation that nothing is known for yet: the container asks for no GPU.
    pub fn new() -> Explanation {
        Explanation::default()
    }

    /// Whether nothing was added yet, not even that nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.request.is_none() && self.errors.is_empty()
    }

    /// Adds the request.
    pub fn request(&mut self, request: &Request) {
        let devices = match &request.devices {
            Devices::All => vec!["all".to_owned()],
            Devices::DriverOnly => vec!["none".to_owned()],
            Devices::List(ids) => ids.iter().map(ToString::to_string).collect(),
        };
        let requirement = |r: &crate::request::Requirement| format!("{}={}", r.name, r.expression);
        self.request = Some(Asked {
            devices,
            capabilities: request.capabilities.iter().collect(),
            requirements: request.requirements.iter().map(requirement).collect(),
            imex_channels: request.imex_channels.clone(),
            source: request.source.clone(),
        });
    }

    /// Adds what the host's search for the driver refused.
    pub fn inventory(&mut self, inventory: &Inventory) {
        self.candidates(&inventory.driver.candidates);
    }

    /// Adds the refused ones of these places: what there is to tell where nothing was accepted.
    pub fn candidates(&mut self, candidates: &[Candidate]) {
        for c in candidates.iter().filter(|c| !c.accepted) {
            let what = c.path.display().to_string();
            self.skipped.push(Skip {
                what,
                why: format!("{}: {}", c.evidence, c.why),
            });
        }
    }

    /// Adds the granted GPUs.
    pub fn grant(&mut self, grant: &Grant) {
        let granted = |g: &Gpu| Granted {
            index: g.index,
            uuid: g.uuid.clone(),
            minor: g.minor,
            bus_id: g.bus_id.clone(),
            model: g.model.clone(),
        };
        self.gpus = grant.gpus.iter().map(granted).collect();
    }

    /// Adds the plan.
    pub fn plan(&mut self, plan: &Plan) {
        for action in &plan.actions {
            items(&action.what, action.required, &action.why, &mut self.items);
        }
        let skip = |s: &Skipped| Skip {
            what: s.what.clone(),
            why: s.why.clone(),
        };
        self.skipped.extend(plan.skipped.iter().map(skip));
    }

    /// Adds what stopped the flow, or what policy ignored.
    pub fn error(&mut self, finding: &Finding) {
        let message = match finding.remedy.is_empty() {
            true => finding.message.clone(),
            false => format!("{}; {}", finding.message, finding.remedy),
        };
        self.errors.push(Problem {
            code: finding.code.to_string(),
            message,
        });
    }

    /// The explanation for a person: an item, and below it why. What was left out is counted, and
    /// listed where `all` is set.
    pub fn text(&self, all: bool) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_text(&mut out, all);
        out
    }

    fn write_text(&self, out: &mut String, all: bool) -> std::fmt::Result {
        match &self.request {
            None if self.errors.is_empty() => {
                writeln!(out, "request: none; the container asks for no GPU")?;
            }
            None => {}
            Some(r) => {
                let capabilities: Vec<&str> = r.capabilities.iter().map(|c| c.as_str()).collect();
                writeln!(
                    out,
                    "request: devices {}; capabilities {}; from {}",
                    one_line(&r.devices.join(",")),
                    capabilities.join(","),
                    r.source
                )?;
                for requirement in &r.requirements {
                    writeln!(out, "  requires {}", one_line(requirement))?;
                }
            }
        }
        for g in &self.gpus {
            let uuid = g.uuid.as_deref().unwrap_or("UUID unknown");
            writeln!(
                out,
                "gpu {}: {}, {uuid}, {}, /dev/nvidia{}",
                g.index, g.model, g.bus_id, g.minor
            )?;
        }
        for i in &self.items {
            let optional = if i.required { "" } else { " (optional)" };
            let from = match &i.source {
                Some(source) if *source != i.target => format!(" <- {source}"),
                _ => String::new(),
            };
            writeln!(
                out,
                "{:<8} {}{from}{optional}\n           {}",
                i.kind,
                i.target,
                one_line(&i.why)
            )?;
        }
        match (all, self.skipped.len()) {
            (_, 0) => {}
            (false, n) => writeln!(out, "skipped  {n} files and nodes (-v lists them)")?,
            (true, _) => {
                for s in &self.skipped {
                    writeln!(
                        out,
                        "skipped  {}\n           {}",
                        one_line(&s.what),
                        one_line(&s.why)
                    )?;
                }
            }
        }
        let ignored = Code::RequestIgnored.to_string();
        for e in &self.errors {
            let word = if e.code == ignored { "note" } else { "error" };
            writeln!(out, "{word:<8} {}: {}", e.code, one_line(&e.message))?;
        }
        Ok(())
    }
}

/// The items of an operation: one, except that files in memory and cache entries are one each.
fn items(what: &Operation, required: bool, why: &str, out: &mut Vec<Item>) {
    let mut item = |kind, source: Option<String>, target: String| {
        out.push(Item {
            kind,
            source,
            target,
            required,
            why: why.to_owned(),
        });
    };
    let text = |p: &Path| p.display().to_string();
    match what {
        Operation::Device { source, target, .. } => {
            item("device", Some(text(source)), text(target))
        }
        Operation::Bind {
            kind,
            source,
            target,
        } => {
            let kind = match kind {
                BindKind::Library => "library",
                BindKind::Binary => "binary",
                BindKind::Firmware => "firmware",
                BindKind::Socket => "socket",
                BindKind::Directory | BindKind::Data | BindKind::Tree => "dir",
                BindKind::Config | BindKind::Module => "file",
                BindKind::Proc => "proc",
            };
            item(kind, Some(text(source)), text(target));
        }
        Operation::Symlink { target, points_to } => {
            item("symlink", Some(text(points_to)), text(target))
        }
        Operation::Files { target, entries } => {
            let kind = match target.starts_with("/proc") {
                true => "proc",
                false => "file",
            };
            for entry in entries
                .iter()
                .filter(|e| e.content.as_ref().is_some_and(|c| !c.is_empty()))
            {
                item(kind, None, text(&target.join(&entry.path)));
            }
        }
        Operation::LdCache {
            entries,
            directories,
        } if entries.is_empty() => {
            directories
                .iter()
                .for_each(|d| item("ldcache", Some(text(d)), text(d)));
        }
        Operation::LdCache { entries, .. } => {
            entries
                .iter()
                .for_each(|e| item("ldcache", Some(e.soname.clone()), text(&e.path)));
        }
        Operation::Env { name, value } => item("env", Some(value.clone()), name.clone()),
        Operation::Group { gid } => item("group", None, gid.to_string()),
    }
}
