//! Debian packages of any suite, fetched with the machine's own apt sources and keys and unpacked
//! beside the system. Nothing is installed, and no dependency is followed: packages are named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::apt_sources::{Source, parse_deb822, parse_list};
use crate::cache;
use crate::error::{Context, Error, Result, run};

/// An index older than this is fetched again: a point release removes old packages from the pool.
const INDEX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether an index could not be fetched since this program started.
static OFFLINE: AtomicBool = AtomicBool::new(false);

/// The architecture of packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// The machine's own.
    Amd64,
    /// 32-bit.
    I386,
}

/// Packages of the archive that the machine itself is installed from.
#[derive(Debug)]
pub struct Debs {
    dir: PathBuf,
    archive: Source,
}

impl Debs {
    /// Packages kept in the cache of [`cache::directory`].
    ///
    /// # Errors
    /// Where apt's sources name no archive for the release of this machine.
    pub fn new() -> Result<Debs> {
        Debs::in_directory(&cache::directory()?.join("debs"))
    }

    /// Packages kept in `dir`.
    ///
    /// # Errors
    /// As [`Debs::new`].
    pub fn in_directory(dir: &Path) -> Result<Debs> {
        let release = fs::read_to_string("/etc/os-release").during("read /etc/os-release")?;
        let codename = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .ok_or_else(|| Error::new("/etc/os-release has no VERSION_CODENAME: not Debian?"))?;
        let archive = machine_sources()
            .into_iter()
            .find(|source| source.serves(codename))
            .ok_or_else(|| {
                Error::new(format!(
                    "no enabled source below /etc/apt serves {codename} main: tests need Debian's archive"
                ))
            })?;
        Ok(Debs {
            dir: dir.to_owned(),
            archive,
        })
    }

    /// The current version of each of `packages` in `component` of `suite`, in that order.
    ///
    /// # Errors
    /// Where a package is neither in the cache nor to be had: no network, or the archive no longer
    /// has the suite.
    pub fn fetch(&self, suite: &str, component: &str, packages: &[&str]) -> Result<Vec<PathBuf>> {
        self.fetch_for(Arch::Amd64, suite, component, packages)
    }

    /// The same for packages of `arch`.
    ///
    /// # Errors
    /// As [`Debs::fetch`].
    pub fn fetch_for(
        &self,
        arch: Arch,
        suite: &str,
        component: &str,
        packages: &[&str],
    ) -> Result<Vec<PathBuf>> {
        let suffix = match arch {
            Arch::Amd64 => "",
            Arch::I386 => "-i386",
        };
        let shelf = self.dir.join(format!("{suite}-{component}{suffix}"));
        let _turn = cache::lock(&shelf)?;
        let apt = Apt::new(&shelf, &self.archive.stanza(suite, component), arch)?;
        let kept = packages.iter().all(|name| apt.kept(name).is_some());
        // Without network, what was fetched some other day still serves; one attempt is enough.
        let offline = kept && OFFLINE.load(Ordering::Relaxed);
        if !apt.index_is_fresh() && !offline {
            match apt.update() {
                Ok(()) => apt.forget_chosen()?,
                Err(_) if kept => OFFLINE.store(true, Ordering::Relaxed),
                Err(cause) => {
                    return Err(Error::new(format!(
                        "fetch {} of {suite} {component}: the archive's index cannot be had, and \
                         {} has no copy: {cause}",
                        packages.join(", "),
                        shelf.display()
                    )));
                }
            }
        }
        let missing: Vec<_> = packages
            .iter()
            .filter(|name| apt.kept(name).is_none())
            .collect();
        if !missing.is_empty() {
            apt.download(&missing)
                .during(format_args!("fetch from {suite} {component}"))?;
        }
        let found = packages.iter().map(|name| {
            apt.kept(name)
                .ok_or_else(|| Error::new(format!("apt-get left no package {name}")))
        });
        found.collect()
    }

    /// The files of the package `deb` below `dir`; its maintainer scripts do not run.
    ///
    /// # Errors
    /// Those of dpkg.
    pub fn unpack(&self, deb: &Path, dir: &Path) -> Result<()> {
        run(Command::new("dpkg").arg("-x").args([deb, dir])).map(drop)
    }

    /// The maintainer script `name` (`postinst`) of the package `deb`.
    ///
    /// # Errors
    /// Those of dpkg; where the package has no such script.
    pub fn script(&self, deb: &Path, name: &str) -> Result<String> {
        let output = run(Command::new("dpkg-deb").arg("--info").arg(deb).arg(name))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// apt-get with configuration, lists and downloads of its own.
struct Apt {
    shelf: PathBuf,
}

impl Apt {
    fn new(shelf: &Path, stanza: &str, arch: Arch) -> Result<Apt> {
        for dir in [
            "sources",
            "lists/partial",
            "cache/archives/partial",
            "packages",
        ] {
            let dir = shelf.join(dir);
            fs::create_dir_all(&dir).during(format_args!("create {}", dir.display()))?;
        }
        let write = |name: &str, content: &str| {
            let path = shelf.join(name);
            fs::write(&path, content).during(format_args!("write {}", path.display()))
        };
        write("sources/archive.sources", stanza)?;
        // An empty status: else apt prefers the machine's installed version over an older suite's.
        write("status", "")?;
        let mut text = configuration(shelf);
        if arch == Arch::I386 {
            text += "APT::Architecture \"i386\";\nAPT::Architectures \"i386\";\n";
        }
        write("apt.conf", &text)?;
        Ok(Apt {
            shelf: shelf.to_owned(),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        command
            .arg("-q")
            .arg("-c")
            .arg(self.shelf.join("apt.conf"))
            .env("LC_ALL", "C.UTF-8");
        command
    }

    fn index_is_fresh(&self) -> bool {
        fs::metadata(self.shelf.join("updated"))
            .and_then(|facts| facts.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age < INDEX_AGE))
    }

    fn update(&self) -> Result<()> {
        run(self.command().args(["update", "--error-on=any"]))?;
        let stamp = self.shelf.join("updated");
        fs::write(&stamp, "").during(format_args!("write {}", stamp.display()))
    }

    /// Lets a new index choose the versions again; apt-get skips the files that are there already.
    fn forget_chosen(&self) -> Result<()> {
        let packages = self.shelf.join("packages");
        for entry in fs::read_dir(&packages).during(format_args!("list {}", packages.display()))? {
            let path = entry
                .during(format_args!("list {}", packages.display()))?
                .path();
            if path
                .extension()
                .is_some_and(|extension| extension == "chosen")
            {
                fs::remove_file(&path).during(format_args!("remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    fn download(&self, packages: &[&&str]) -> Result<()> {
        let dir = self.shelf.join("packages");
        let names = packages.iter().map(|name| **name);
        run(self
            .command()
            .arg("download")
            .args(names.clone())
            .current_dir(&dir))?;
        let uris = run(self
            .command()
            .args(["download", "--print-uris"])
            .args(names))?;
        let uris = String::from_utf8_lossy(&uris.stdout).into_owned();
        // As large as the index, and of no use until the next package is wanted.
        let index = self.shelf.join("cache/pkgcache.bin");
        fs::remove_file(&index).during(format_args!("remove {}", index.display()))?;
        for name in packages {
            // 'URI' FILE SIZE HASH
            let prefix = format!("{name}_");
            let file = uris
                .lines()
                .filter_map(|line| line.split_whitespace().nth(1))
                .find(|file| file.starts_with(&prefix))
                .ok_or_else(|| Error::new(format!("apt-get names no file for {name}")))?;
            let chosen = dir.join(format!("{name}.chosen"));
            fs::write(&chosen, file).during(format_args!("write {}", chosen.display()))?;
        }
        Ok(())
    }

    fn kept(&self, package: &str) -> Option<PathBuf> {
        let dir = self.shelf.join("packages");
        let file = fs::read_to_string(dir.join(format!("{package}.chosen"))).ok()?;
        Some(dir.join(file)).filter(|path| path.is_file())
    }
}

/// Read after the machine's own configuration (`apt-get -c`), so that a proxy set there stays and
/// the hooks of desktops and of container images go.
fn configuration(shelf: &Path) -> String {
    let shelf = shelf.display();
    format!(
        "Dir::Etc::sourcelist \"/dev/null\";\n\
         Dir::Etc::sourceparts \"{shelf}/sources\";\n\
         Dir::Etc::preferences \"/dev/null\";\n\
         Dir::Etc::preferencesparts \"{shelf}/none\";\n\
         Dir::State::lists \"{shelf}/lists\";\n\
         Dir::State::status \"{shelf}/status\";\n\
         Dir::Cache \"{shelf}/cache\";\n\
         Dir::Cache::pkgcache \"pkgcache.bin\";\n\
         Dir::Cache::srcpkgcache \"\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::PDiffs \"false\";\n\
         Acquire::Retries \"3\";\n\
         APT::Sandbox::User \"root\";\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n"
    )
}

fn machine_sources() -> Vec<Source> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(parts) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(parts.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(parse_list(&text)),
            Some("sources") => sources.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    sources
}
