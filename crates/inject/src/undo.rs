//! What was done to a container, so that it can be undone.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::attach::detach_mount;
use crate::rootfs::Directory;
use crate::temporary::replace_link;

/// Things done, in order. Dropped without a call of [`Undo::keep`], it undoes them in reverse.
#[derive(Default)]
pub(crate) struct Undo {
    done: Vec<Done>,
}

enum Done {
    Mounted(OwnedFd),
    File(Rc<Directory>, OsString),
    Directory(Rc<Directory>, OsString),
    Link {
        directory: Rc<Directory>,
        name: OsString,
        held: PathBuf,
    },
}

impl Undo {
    /// `mount` is the root of a mount that was attached.
    pub(crate) fn unmount(&mut self, mount: OwnedFd) {
        self.done.push(Done::Mounted(mount));
    }

    /// A file or link of that name was made.
    pub(crate) fn remove_file(&mut self, directory: &Rc<Directory>, name: &OsStr) {
        self.done
            .push(Done::File(Rc::clone(directory), name.to_os_string()));
    }

    /// A directory of that name was made.
    pub(crate) fn remove_directory(&mut self, directory: &Rc<Directory>, name: &OsStr) {
        self.done
            .push(Done::Directory(Rc::clone(directory), name.to_os_string()));
    }

    /// A link that held `held` was replaced.
    pub(crate) fn restore_link(&mut self, directory: &Rc<Directory>, name: &OsStr, held: PathBuf) {
        self.done.push(Done::Link {
            directory: Rc::clone(directory),
            name: name.to_os_string(),
            held,
        });
    }

    /// How much has been done, for [`Undo::back_to`].
    pub(crate) fn mark(&self) -> usize {
        self.done.len()
    }

    /// Undoes what was done since `mark`.
    pub(crate) fn back_to(&mut self, mark: usize) {
        while self.done.len() > mark {
            if let Some(done) = self.done.pop() {
                done.undo();
            }
        }
    }

    /// Everything succeeded: nothing will be undone.
    pub(crate) fn keep(mut self) {
        self.done.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        self.back_to(0);
    }
}

impl Done {
    /// Best effort: there is nobody to tell, and the failure that led here is what matters.
    fn undo(self) {
        match self {
            Done::Mounted(mount) => {
                let _ = detach_mount(mount.as_fd());
            }
            Done::File(directory, name) => {
                let _ = unlinkat(
                    directory.writer(),
                    name.as_os_str(),
                    UnlinkatFlags::NoRemoveDir,
                );
            }
            Done::Directory(directory, name) => {
                let _ = unlinkat(
                    directory.writer(),
                    name.as_os_str(),
                    UnlinkatFlags::RemoveDir,
                );
            }
            Done::Link {
                directory,
                name,
                held,
            } => {
                let _ = replace_link(directory.writer(), &name, &held);
            }
        }
    }
}
