//! What the file system of the data folder can do, tried in a folder that is removed again.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::fs::{Disk, Fs, Lock};

use super::case::Case;
use super::finding::Finding;
use super::scratch::Scratch;

/// A thing that is tried: what it is, how, and what it means when it fails.
struct Ability {
    name: &'static str,
    try_it: fn(&dyn Fs, &Scratch) -> io::Result<()>,
    /// Whether tapline cannot do without.
    is_needed: bool,
    without: &'static str,
}

const ABILITIES: &[Ability] = &[
    Ability {
        name: "appending and cutting",
        try_it: append_and_cut,
        is_needed: true,
        without: "no line can be written, or taken back",
    },
    Ability {
        name: "putting a file in the place of another",
        try_it: rename,
        is_needed: true,
        without: "the commit log cannot be replaced",
    },
    Ability {
        name: "syncing a folder",
        try_it: sync_dir,
        is_needed: true,
        without: "new files may be gone after a loss of power",
    },
    Ability { name: "locks", try_it: lock, is_needed: true, without: "two processes could write one folder" },
    Ability {
        name: "symbolic links",
        try_it: link,
        is_needed: false,
        without: "there is no link to tail; tail the segments themselves, or use `tapline tail`",
    },
    Ability {
        name: "modes of files",
        try_it: modes,
        is_needed: false,
        without: "whoever may enter the folder may read what is collected",
    },
    Ability {
        name: "names that differ in capitals",
        try_it: capitals,
        is_needed: false,
        without: "two sources whose names differ in nothing else would be one",
    },
];

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let place = case.place();
    match Scratch::make(&place.dir, "abilities") {
        Ok(scratch) => try_all(&Disk, &scratch, &place.name()),
        Err(error) => vec![Finding::bad(
            format!("nothing can be made in {}: {error}", place.name()),
            "see what `permissions` and `disk` say of it",
        )],
    }
}

fn try_all(disk: &dyn Fs, scratch: &Scratch, place: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ability in ABILITIES {
        let Err(error) = (ability.try_it)(disk, scratch) else { continue };
        let words = format!("{place} lacks {}: {error}; {}", ability.name, ability.without);
        let todo = "have the data on a file system of this machine that can (ext4, XFS, Btrfs)";
        findings.push(if ability.is_needed { Finding::bad(words, todo) } else { Finding::warn(words, todo) });
    }
    if findings.is_empty() {
        let names: Vec<&str> = ABILITIES.iter().map(|ability| ability.name).collect();
        findings.push(Finding::ok(format!("tried and well: {}", names.join(", "))));
    }
    findings
}

fn wrong(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}

fn text_of(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

fn append_and_cut(disk: &dyn Fs, scratch: &Scratch) -> io::Result<()> {
    let path = scratch.path("appended");
    let mut file = disk.create(&path)?;
    file.append(b"one\n")?;
    file.append(b"two\nthr")?;
    file.sync()?;
    file.truncate(8)?;
    file.append(b"3\n")?;
    if text_of(&path)? == "one\ntwo\n3\n" { Ok(()) } else { Err(wrong("what was written is not what is read")) }
}

fn rename(disk: &dyn Fs, scratch: &Scratch) -> io::Result<()> {
    let (new, old) = (scratch.path("new"), scratch.path("old"));
    disk.create(&old)?.append(b"old")?;
    disk.create(&new)?.append(b"new")?;
    disk.rename(&new, &old)?;
    if text_of(&old)? == "new" && !new.exists() { Ok(()) } else { Err(wrong("the old file is still there")) }
}

fn sync_dir(disk: &dyn Fs, scratch: &Scratch) -> io::Result<()> {
    disk.sync_dir(scratch.dir())
}

fn lock(_: &dyn Fs, scratch: &Scratch) -> io::Result<()> {
    let path = scratch.path("lock");
    let held = Lock::take(&path)?;
    let second = Lock::take(&path);
    drop(held);
    match second {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(wrong("a lock that is held was given a second time")),
    }
}

fn link(disk: &dyn Fs, scratch: &Scratch) -> io::Result<()> {
    let (first, second, link) = (scratch.path("first"), scratch.path("second"), scratch.path("link"));
    disk.create(&first)?.append(b"first")?;
    disk.create(&second)?.append(b"second")?;
    disk.link(Path::new("first"), &link)?;
    disk.link(Path::new("second"), &link)?;
    if text_of(&link)? == "second" { Ok(()) } else { Err(wrong("the link leads elsewhere")) }
}

fn modes(disk: &dyn Fs, scratch: &Scratch) -> io::Result<()> {
    let path = scratch.path("modes");
    disk.create(&path)?;
    let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
    // What is less is the user's own umask.
    if [0o004, 0o002, 0o001].iter().all(|right| mode & right == 0) {
        Ok(())
    } else {
        Err(wrong(&format!("a new file has the mode {mode:03o}")))
    }
}

fn capitals(disk: &dyn Fs, scratch: &Scratch) -> io::Result<()> {
    disk.create(&scratch.path("name"))?;
    disk.create(&scratch.path("NAME")).map(drop)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::super::finding::text;
    use super::*;
    use crate::fs::File;

    /// A disk that can do nothing but what a plain file system of a camera can.
    struct Poor;

    impl Fs for Poor {
        fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
            let path = path.to_str().unwrap().to_lowercase();
            let file = Disk.create(Path::new(&path))?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
            Ok(file)
        }

        fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
            Disk.open(path)
        }

        fn read_from(&self, path: &Path, offset: u64) -> io::Result<Box<dyn io::Read + Send>> {
            Disk.read_from(path, offset)
        }

        fn len(&self, path: &Path) -> io::Result<u64> {
            Disk.len(path)
        }

        fn modified(&self, path: &Path) -> io::Result<DateTime<Utc>> {
            Disk.modified(path)
        }

        fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
            Disk.list(dir)
        }

        fn has_names(&self, dir: &Path) -> io::Result<bool> {
            Disk.has_names(dir)
        }

        fn make_dir(&self, dir: &Path) -> io::Result<()> {
            Disk.make_dir(dir)
        }

        fn sync_dir(&self, _: &Path) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            fs::copy(from, to).map(drop)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            Disk.remove(path)
        }

        fn remove_dir(&self, dir: &Path) -> io::Result<()> {
            Disk.remove_dir(dir)
        }

        fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
            Err(io::ErrorKind::PermissionDenied.into())
        }

        fn free(&self, dir: &Path) -> io::Result<u64> {
            Disk.free(dir)
        }
    }

    #[test]
    fn what_a_file_system_lacks_is_said() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(try_all(&Disk, &Scratch::make(dir.path(), "good").unwrap(), "data")[0].todo, None);
        // The poor disk knows small letters only.
        let root = std::env::temp_dir().join(format!("doctor-poor-{}", std::process::id()));
        fs::create_dir(&root).unwrap();
        let found = try_all(&Poor, &Scratch::make(&root, "poor").unwrap(), "data");
        fs::remove_dir_all(&root).unwrap();
        insta::assert_snapshot!(text(&found), @"
            bad: data lacks putting a file in the place of another: the old file is still there; the commit log cannot be replaced
                do: have the data on a file system of this machine that can (ext4, XFS, Btrfs)
            bad: data lacks syncing a folder: unsupported; new files may be gone after a loss of power
                do: have the data on a file system of this machine that can (ext4, XFS, Btrfs)
            warn: data lacks symbolic links: permission denied; there is no link to tail; tail the segments themselves, or use `tapline tail`
                do: have the data on a file system of this machine that can (ext4, XFS, Btrfs)
            warn: data lacks modes of files: a new file has the mode 777; whoever may enter the folder may read what is collected
                do: have the data on a file system of this machine that can (ext4, XFS, Btrfs)
            warn: data lacks names that differ in capitals: File exists (os error 17); two sources whose names differ in nothing else would be one
                do: have the data on a file system of this machine that can (ext4, XFS, Btrfs)
        ");
    }
}
