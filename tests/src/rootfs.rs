//! Images: small root file systems with the C library of a real release.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache;
use crate::debs::Debs;
use crate::error::{Context, Error, Result, run};
use crate::tree::give;

/// Part of the name of what is kept, so that a change of the recipe below makes it anew.
const RECIPE: u32 = 1;

/// What an image is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Debian 11: glibc 2.31, `/lib` apart from `/usr/lib`.
    Bullseye,
    /// Debian 12: glibc 2.36, `/lib` merged into `/usr/lib`.
    Bookworm,
    /// Debian 13: glibc 2.41, whose packages hold `/usr/lib` only.
    Trixie,
    /// The C library of Debian 12 alone: no `/etc/ld.so.*`, no ldconfig, no shell.
    Distroless,
    /// Libraries in `/usr/lib64` and no `/etc/debian_version`, as images made from RPM packages.
    /// The loader is Debian's, so it finds them by `/etc/ld.so.cache` only.
    Lib64,
    /// musl: nothing that a driver library could run with.
    Musl,
    /// Nothing but the usual empty directories.
    Scratch,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 7] = [
        Kind::Bullseye,
        Kind::Bookworm,
        Kind::Trixie,
        Kind::Distroless,
        Kind::Lib64,
        Kind::Musl,
        Kind::Scratch,
    ];

    /// The kinds whose programs can load a driver library.
    pub const GLIBC: [Kind; 5] = [
        Kind::Bullseye,
        Kind::Bookworm,
        Kind::Trixie,
        Kind::Distroless,
        Kind::Lib64,
    ];

    /// Whether programs that are linked against glibc run in it.
    pub fn has_glibc(self) -> bool {
        Kind::GLIBC.contains(&self)
    }

    /// Where the image keeps its 64-bit libraries, as its packages name the directory.
    pub fn library_directory(self) -> Option<&'static str> {
        match self {
            Kind::Bullseye | Kind::Bookworm | Kind::Trixie | Kind::Distroless => {
                Some("/usr/lib/x86_64-linux-gnu")
            }
            Kind::Lib64 => Some("/usr/lib64"),
            Kind::Musl | Kind::Scratch => None,
        }
    }

    fn suite(self) -> &'static str {
        match self {
            Kind::Bullseye => "bullseye",
            Kind::Trixie => "trixie",
            _ => "bookworm",
        }
    }

    fn packages(self) -> &'static [&'static str] {
        match self {
            Kind::Bullseye | Kind::Bookworm | Kind::Trixie | Kind::Lib64 => &["libc6", "libc-bin"],
            Kind::Distroless => &["libc6"],
            Kind::Musl => &["musl"],
            Kind::Scratch => &[],
        }
    }

    fn debian_version(self) -> Option<&'static str> {
        match self {
            Kind::Bullseye => Some("11.11\n"),
            Kind::Bookworm | Kind::Distroless => Some("12.12\n"),
            Kind::Trixie => Some("13.2\n"),
            Kind::Lib64 | Kind::Musl | Kind::Scratch => None,
        }
    }
}

/// A root file system of one test, to be changed at will.
#[derive(Clone, Debug)]
pub struct Rootfs {
    /// What it is made of.
    pub kind: Kind,
    /// Where it is.
    pub path: PathBuf,
}

impl Rootfs {
    /// A fresh copy of the image `kind` at `path`, which must not exist.
    ///
    /// # Errors
    /// Where the image's packages are not to be had, or the copy fails.
    pub fn instance(debs: &Debs, kind: Kind, path: &Path) -> Result<Rootfs> {
        let image = image(debs, kind)?;
        run(Command::new("cp")
            .args(["-a", "--reflink=auto", "-T"])
            .args([&image, path]))?;
        Ok(Rootfs {
            kind,
            path: path.to_owned(),
        })
    }

    /// Where `path`, a path in the image, is on the host. Links in it are not followed.
    pub fn on_host(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }

    /// Writes a file, and the directories that it lies in.
    ///
    /// # Errors
    /// Where that fails.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let file = self.on_host(path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).during(format_args!("create {}", parent.display()))?;
        }
        fs::write(&file, content).during(format_args!("write {}", file.display()))
    }

    /// Makes the soname links and the ld.so.cache anew, by the image's own ldconfig.
    ///
    /// # Errors
    /// Where the image has none.
    pub fn ldconfig(&self) -> Result<()> {
        ldconfig(&self.path)
    }

    /// Gives every file to the user and group `id`: the root of a user namespace that starts there.
    ///
    /// # Errors
    /// Where that fails.
    pub fn give_to(&self, id: u32) -> Result<()> {
        give(&self.path, id)
    }
}

/// The image `kind` in the cache: to be read, never changed.
///
/// # Errors
/// Where its packages are not to be had.
pub fn image(debs: &Debs, kind: Kind) -> Result<PathBuf> {
    let packages = match kind.packages() {
        [] => Vec::new(),
        names => debs.fetch(kind.suite(), "main", names)?,
    };
    let version = packages
        .first()
        .and_then(|deb| deb.file_stem())
        .unwrap_or_default();
    let name = format!("{kind:?}-{RECIPE}-{}", version.to_string_lossy());
    let path = cache::directory()?.join("rootfs").join(name);
    cache::once(&path, |root| build(debs, kind, &packages, root))?;
    Ok(path)
}

fn build(debs: &Debs, kind: Kind, packages: &[PathBuf], root: &Path) -> Result<()> {
    for package in packages {
        debs.unpack(package, root)?;
    }
    trim(root)?;
    for dir in [
        "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "var/tmp",
    ] {
        let dir = root.join(dir);
        fs::create_dir_all(&dir).during(format_args!("create {}", dir.display()))?;
    }
    for dir in ["tmp", "var/tmp"] {
        let sticky = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(root.join(dir), sticky).during(format_args!("open up {dir}"))?;
    }
    let write = |name: &str, content: &str| {
        fs::write(root.join(name), content).during(format_args!("write {name}"))
    };
    if kind != Kind::Scratch {
        write(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        )?;
        write("etc/group", "root:x:0:\nnogroup:x:65534:\n")?;
    }
    if let Some(version) = kind.debian_version() {
        write("etc/debian_version", version)?;
    }
    match kind {
        Kind::Bullseye => ldconfig(root),
        Kind::Bookworm | Kind::Trixie => {
            merge_usr(root)?;
            ldconfig(root)
        }
        Kind::Lib64 => {
            merge_usr(root)?;
            move_to_lib64(root)?;
            write(
                "etc/ld.so.conf",
                "include ld.so.conf.d/*.conf\n/usr/lib64\n",
            )?;
            ldconfig(root)
        }
        Kind::Distroless => fs::remove_dir_all(root.join("etc/ld.so.conf.d"))
            .during("remove etc/ld.so.conf.d of the distroless image"),
        Kind::Musl | Kind::Scratch => Ok(()),
    }
}

/// Takes out what no test looks at: it would be copied for each.
pub(crate) fn trim(root: &Path) -> Result<()> {
    let unused = [
        "usr/share",
        "usr/bin",
        "usr/lib/locale",
        "usr/lib/x86_64-linux-gnu/gconv",
        "var/cache",
    ];
    for path in unused
        .map(|dir| root.join(dir))
        .iter()
        .filter(|path| path.is_dir())
    {
        fs::remove_dir_all(path).during(format_args!("remove {}", path.display()))?;
    }
    Ok(())
}

/// What the base-files package does in these releases; unpacking follows no links, so it comes
/// after it.
pub(crate) fn merge_usr(root: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        let (apart, merged) = (root.join(name), root.join("usr").join(name));
        fs::create_dir_all(&merged).during(format_args!("create {}", merged.display()))?;
        if apart.is_dir() {
            run(Command::new("cp")
                .arg("-a")
                .arg(apart.join("."))
                .arg(&merged))?;
            fs::remove_dir_all(&apart).during(format_args!("remove {}", apart.display()))?;
        }
        symlink(Path::new("usr").join(name), &apart)
            .during(format_args!("link {}", apart.display()))?;
    }
    Ok(())
}

fn move_to_lib64(root: &Path) -> Result<()> {
    let from = root.join("usr/lib/x86_64-linux-gnu");
    let to = root.join("usr/lib64");
    let loader = to.join("ld-linux-x86-64.so.2");
    // A link to the file that is about to take its place.
    fs::remove_file(&loader).during(format_args!("remove {}", loader.display()))?;
    run(Command::new("cp").arg("-a").arg(from.join(".")).arg(&to))?;
    for dir in [from, root.join("etc/ld.so.conf.d")] {
        fs::remove_dir_all(&dir).during(format_args!("remove {}", dir.display()))?;
    }
    let drop_ins = root.join("etc/ld.so.conf.d");
    fs::create_dir(&drop_ins).during(format_args!("create {}", drop_ins.display()))
}

/// Makes the soname links and the ld.so.cache of `root` by its own ldconfig (a static program).
pub(crate) fn ldconfig(root: &Path) -> Result<()> {
    let program = ["usr/sbin/ldconfig", "sbin/ldconfig"]
        .map(|path| root.join(path))
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| Error::new(format!("{} has no ldconfig", root.display())))?;
    run(Command::new(program).arg("-r").arg(root)).map(drop)
}
