//! The file system of the data folder: which it is, how it is mounted, and how much room there is.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use crate::units::Size;

use super::case::{Case, Machine};
use super::finding::Finding;

/// A file system that is not what a data folder should be on: how its name begins, why not, and what to do.
struct Unsuited {
    kind: &'static str,
    why: &'static str,
    todo: &'static str,
}

const UNSUITED: &[Unsuited] = &[
    Unsuited {
        kind: "overlay",
        why: "the layer of a container: it goes with the container, and is slower",
        todo: "mount a volume or a folder of the host there (`docker run -v`, `volumes:`)",
    },
    Unsuited {
        kind: "tmpfs",
        why: "memory: everything is gone at the next start of the machine",
        todo: "move the data folder to a disk",
    },
    Unsuited {
        kind: "ramfs",
        why: "memory: everything is gone at the next start of the machine",
        todo: "move the data folder to a disk",
    },
    Unsuited {
        kind: "nfs",
        why: "a server's: syncs and locks are as good as that server, and a server that is away stops everything",
        todo: "have the data on a disk of this machine, and carry it on with `tapline load` or `export`; or see that the export is `sync` and that no other machine runs tapline on it",
    },
    Unsuited {
        kind: "cifs",
        why: "a server's: links are emulated, and syncs and locks are as good as that server",
        todo: "have the data on a disk of this machine, and carry it on with `tapline load` or `export`",
    },
    Unsuited {
        kind: "smb",
        why: "a server's: links are emulated, and syncs and locks are as good as that server",
        todo: "have the data on a disk of this machine, and carry it on with `tapline load` or `export`",
    },
    Unsuited {
        kind: "fuse",
        why: "a program's: whether a sync means anything depends on that program",
        todo: "have the data on a disk of this machine; see what that program promises for fsync and for rename",
    },
    Unsuited {
        kind: "9p",
        why: "a folder of the host of this virtual machine: syncs are slow, and locks do not reach to the host",
        todo: "use a volume inside the virtual machine, and copy or load from there",
    },
    Unsuited {
        kind: "virtiofs",
        why: "a folder of the host of this virtual machine: whether a sync reaches the disk is the host's affair",
        todo: "use a volume inside the virtual machine, or see that the host does not cache writes",
    },
    Unsuited {
        kind: "exfat",
        why: "without links, so that there is none to tail, and without a journal",
        todo: "use ext4, XFS or Btrfs",
    },
    Unsuited {
        kind: "vfat",
        why: "without links, so that there is none to tail, and without a journal",
        todo: "use ext4, XFS or Btrfs",
    },
    Unsuited {
        kind: "msdos",
        why: "without links, so that there is none to tail, and without a journal",
        todo: "use ext4, XFS or Btrfs",
    },
    Unsuited {
        kind: "ext2",
        why: "without a journal: after a loss of power names may be gone",
        todo: "use ext4, XFS or Btrfs",
    },
];

/// Less than so many free files, and less than so much beyond `limits.disk_free`, is soon used up.
const INODES_MIN: u64 = 10_000;
const ROOM_FACTOR: u64 = 4;

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let place = case.place();
    let mut findings = Vec::new();
    match mount_of(&case.machine, &place.dir) {
        Some(mount) => findings.extend(suited(&mount, &place.name())),
        None => findings.push(Finding::ok(format!("{}: its file system is not named by this system", place.name()))),
    }
    match rustix::fs::statvfs(&place.dir) {
        Ok(status) => findings.extend(room(&Room {
            free: status.f_bavail.saturating_mul(status.f_frsize),
            all: status.f_blocks.saturating_mul(status.f_frsize),
            files_free: status.f_favail,
            files: status.f_files,
            limit: case.settings.limits.disk_free.0,
        })),
        Err(error) => findings.push(Finding::bad(
            format!("how much room {} has cannot be told: {error}", place.name()),
            "see whether the disk is there at all",
        )),
    }
    findings
}

/// A mounted file system.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    kind: String,
    source: String,
    options: Vec<String>,
}

/// The file system that a folder is on, by the longest mount point that leads to it; of several at one point the last.
fn mount_of(machine: &Machine, dir: &Path) -> Option<Mount> {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let table = machine.read("proc/self/mountinfo")?;
    let mounts = table.lines().filter_map(parse).filter(|(point, _)| dir.starts_with(point));
    let best = mounts
        .reduce(|best, next| if next.0.components().count() >= best.0.components().count() { next } else { best });
    best.map(|(_, mount)| mount)
}

/// A line of `mountinfo`: `36 35 98:0 / /mnt rw,noatime master:1 - ext4 /dev/sda1 rw,errors=continue`.
fn parse(line: &str) -> Option<(PathBuf, Mount)> {
    let (before, after) = line.split_once(" - ")?;
    let before: Vec<&str> = before.split(' ').collect();
    let mut after = after.splitn(3, ' ');
    let (kind, source) = (after.next()?.to_owned(), unescaped(after.next()?));
    let options = before.get(5)?.split(',').chain(after.next()?.split(',')).map(str::to_owned).collect();
    Some((unescaped(before.get(4)?).into(), Mount { kind, source, options }))
}

/// Spaces and the like are written in octal digits: `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if let Some(byte) = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            out.push(char::from(byte));
            out.push_str(&part[3..]);
        } else {
            out.push('\\');
            out.push_str(part);
        }
    }
    out
}

fn suited(mount: &Mount, place: &str) -> Vec<Finding> {
    let Mount { kind, source, options } = mount;
    let has = |option: &str| options.iter().any(|found| found == option);
    let mut findings = Vec::new();
    if has("ro") {
        findings.push(Finding::bad(
            format!("{place} is on a file system that is mounted read-only ({kind}, {source})"),
            "mount it for writing, or name another folder with `data:`; a disk that had errors is mounted so by the system (dmesg says it)",
        ));
    }
    if has("nobarrier") || has("barrier=0") {
        findings.push(Finding::bad(
            format!("{place} is on {kind} without barriers: what is synced may be lost with the power"),
            "mount it without `nobarrier` and `barrier=0`",
        ));
    }
    findings.push(match UNSUITED.iter().find(|unsuited| kind.starts_with(unsuited.kind)) {
        Some(Unsuited { why, todo, .. }) => Finding::warn(format!("{place} is on {kind} ({source}), {why}"), *todo),
        None => Finding::ok(format!("{place} is on {kind} ({source})")),
    });
    findings
}

/// How much room there is.
struct Room {
    free: u64,
    all: u64,
    files_free: u64,
    files: u64,
    /// `limits.disk_free`.
    limit: u64,
}

fn room(room: &Room) -> Vec<Finding> {
    let Room { free, all, files_free, files, limit } = *room;
    let shown = format!("{} of {} are free", ByteSize(free), ByteSize(all));
    let limit_shown = Size(limit);
    let mut findings = vec![if free < limit {
        Finding::bad(
            format!("{shown}, and below {limit_shown} (limits.disk_free) nothing is written"),
            "make room, or let `retain:` do it; writing goes on by itself then",
        )
    } else if free < limit.saturating_mul(ROOM_FACTOR) {
        Finding::warn(
            format!("{shown}, and below {limit_shown} (limits.disk_free) nothing is written"),
            "make room, or let `retain:` do it, before it is used up",
        )
    } else {
        Finding::ok(shown)
    }];
    // Some file systems make their tables of files as they need them, and say no number.
    if files > 0 && files_free < INODES_MIN {
        let words = format!("{files_free} of {files} files may still be made on this file system");
        let todo = "delete files that nobody needs, there or elsewhere on it; the number was fixed when the file system was made";
        findings.push(if files_free < 100 { Finding::bad(words, todo) } else { Finding::warn(words, todo) });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::case::machine;
    use super::super::finding::text;
    use super::*;

    const TABLE: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro
40 22 0:35 / /srv/data rw,nosuid - nfs4 server:/export rw,vers=4.2
41 22 0:36 / /srv/my\\040data rw - fuse.sshfs me@there:/ rw
42 22 0:37 / /srv/data rw - tmpfs tmpfs rw,size=1m
43 22 0:38 / /mnt ro,relatime - xfs /dev/sdb1 ro,nobarrier
";

    #[test]
    fn the_mount_that_counts() {
        let dir = tempfile::tempdir().unwrap();
        let machine = machine(dir.path(), &[("proc/self/mountinfo", TABLE)]);
        let kind = |dir: &str| mount_of(&machine, Path::new(dir)).unwrap().kind;
        assert_eq!(kind("/var/lib"), "ext4");
        assert_eq!(kind("/srv/database"), "ext4");
        assert_eq!(kind("/srv/data/x"), "tmpfs", "the last one covers the others");
        assert_eq!(kind("/srv/my data"), "fuse.sshfs");
    }

    #[test]
    fn what_each_file_system_is_said_to_be() {
        let of = |kind: &str, options: &str| {
            let mount = Mount {
                kind: kind.to_owned(),
                source: "/dev/x".to_owned(),
                options: options.split(',').map(str::to_owned).collect(),
            };
            suited(&mount, "data")
        };
        for kind in ["ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs"] {
            assert_eq!(of(kind, "rw").len(), 1);
            assert_eq!(of(kind, "rw")[0].todo, None, "{kind}");
        }
        let kinds = ["overlay", "tmpfs", "nfs4", "cifs", "fuse.s3fs", "9p", "virtiofs", "exfat"];
        let mut found: Vec<Finding> = kinds.iter().flat_map(|kind| of(kind, "rw,noatime")).collect();
        found.extend(of("xfs", "ro,nobarrier"));
        insta::assert_snapshot!(text(&found), @"
            warn: data is on overlay (/dev/x), the layer of a container: it goes with the container, and is slower
                do: mount a volume or a folder of the host there (`docker run -v`, `volumes:`)
            warn: data is on tmpfs (/dev/x), memory: everything is gone at the next start of the machine
                do: move the data folder to a disk
            warn: data is on nfs4 (/dev/x), a server's: syncs and locks are as good as that server, and a server that is away stops everything
                do: have the data on a disk of this machine, and carry it on with `tapline load` or `export`; or see that the export is `sync` and that no other machine runs tapline on it
            warn: data is on cifs (/dev/x), a server's: links are emulated, and syncs and locks are as good as that server
                do: have the data on a disk of this machine, and carry it on with `tapline load` or `export`
            warn: data is on fuse.s3fs (/dev/x), a program's: whether a sync means anything depends on that program
                do: have the data on a disk of this machine; see what that program promises for fsync and for rename
            warn: data is on 9p (/dev/x), a folder of the host of this virtual machine: syncs are slow, and locks do not reach to the host
                do: use a volume inside the virtual machine, and copy or load from there
            warn: data is on virtiofs (/dev/x), a folder of the host of this virtual machine: whether a sync reaches the disk is the host's affair
                do: use a volume inside the virtual machine, or see that the host does not cache writes
            warn: data is on exfat (/dev/x), without links, so that there is none to tail, and without a journal
                do: use ext4, XFS or Btrfs
            bad: data is on a file system that is mounted read-only (xfs, /dev/x)
                do: mount it for writing, or name another folder with `data:`; a disk that had errors is mounted so by the system (dmesg says it)
            bad: data is on xfs without barriers: what is synced may be lost with the power
                do: mount it without `nobarrier` and `barrier=0`
            ok: data is on xfs (/dev/x)
        ");
    }

    #[test]
    fn room_is_judged() {
        let of = |free, files_free, files| room(&Room { free, all: 100 << 30, files_free, files, limit: 256 << 20 });
        let found = [of(50 << 30, 0, 0), of(900 << 20, 5_000, 6_000_000), of(100 << 20, 7, 6_000_000)].concat();
        insta::assert_snapshot!(text(&found), @"
            ok: 50.0 GiB of 100.0 GiB are free
            warn: 900.0 MiB of 100.0 GiB are free, and below 256.0 MiB (limits.disk_free) nothing is written
                do: make room, or let `retain:` do it, before it is used up
            warn: 5000 of 6000000 files may still be made on this file system
                do: delete files that nobody needs, there or elsewhere on it; the number was fixed when the file system was made
            bad: 100.0 MiB of 100.0 GiB are free, and below 256.0 MiB (limits.disk_free) nothing is written
                do: make room, or let `retain:` do it; writing goes on by itself then
            bad: 7 of 6000000 files may still be made on this file system
                do: delete files that nobody needs, there or elsewhere on it; the number was fixed when the file system was made
        ");
    }
}
