//! Limits of the system: open files, sizes of files, ports.

use rustix::process::{Resource, getrlimit};

use crate::units::Size;

use super::case::{Case, Machine};
use super::finding::{Finding, counted};

/// Handles that a service needs by itself, that a source and a loader need (connections, what is read back, rotation), and
/// the most that are kept open for segments.
const FILES_BY_ITSELF: u64 = 40;
const FILES_OF_SOURCE: u64 = 2;
const FILES_OF_LOADER: u64 = 8;
const FILES_OF_PAGE: u64 = 64;

/// Connections that a source may have in a port's time to rest (a minute), at the most that is usual.
const PORTS_OF_SOURCE: u64 = 4;

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let sources = case.sources.good.iter().filter(|source| source.enabled).count() as u64;
    let loaders = case.settings.loaders.len() as u64;
    let (process, whose) = case.process();
    let has_page = !matches!(case.settings.http, crate::config::Http::Off);
    let need = FILES_BY_ITSELF
        + sources * FILES_OF_SOURCE
        + loaders * FILES_OF_LOADER
        + if has_page { FILES_OF_PAGE } else { 0 };
    let mut findings = vec![open_files(of_process(&case.machine, &process), need, whose, sources)];
    findings.extend(file_size(getrlimit(Resource::Fsize).current, case.settings.rotate.size.0));
    findings.extend(ports(&case.machine, sources));
    findings
}

/// The most files that a process may have open, and how many the service has, where that is seen.
#[derive(Clone, Copy)]
struct OpenFiles {
    /// `None` is any number.
    most: Option<u64>,
    now: Option<u64>,
}

fn of_process(machine: &Machine, process: &str) -> OpenFiles {
    if process == "self" {
        // The service raises its limit to what it may have.
        return OpenFiles { most: getrlimit(Resource::Nofile).maximum, now: None };
    }
    let limits = machine.read(&format!("proc/{process}/limits")).unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let most = line.and_then(|line| line["Max open files".len()..].split_whitespace().next()?.parse().ok());
    let now = std::fs::read_dir(machine.path(&format!("proc/{process}/fd"))).ok().map(|files| files.count() as u64);
    OpenFiles { most, now }
}

fn open_files(files: OpenFiles, need: u64, whose: &str, sources: u64) -> Finding {
    let now = files.now.map_or_else(String::new, |now| format!(" and has {now} open"));
    let Some(most) = files.most else { return Finding::ok(format!("{whose} may have any number of files open{now}")) };
    let words = format!("{whose} may have {most} files open{now}; {} may want {need}", counted(sources, "source"));
    let todo = format!(
        "raise the limit to {} or more: `ulimit -Hn`, LimitNOFILE= of a systemd unit, `ulimits:` of a container",
        (need * 2).next_multiple_of(1024)
    );
    if most < need || files.now.is_some_and(|now| now * 10 > most * 9) {
        Finding::bad(words, todo)
    } else if most < need * 2 {
        Finding::warn(words, todo)
    } else {
        Finding::ok(words)
    }
}

/// A file may be no longer than this: segments and the commit log end there, and it counts as a full disk.
fn file_size(most: Option<u64>, rotate: u64) -> Option<Finding> {
    let most = most?;
    let words =
        format!("no file may be longer than {} (ulimit -f), and segments are up to {}", Size(most), Size(rotate));
    // The commit log has several megabytes before it is replaced.
    let needed = rotate.max(64 << 20);
    Some(if most < needed {
        Finding::bad(
            words,
            "lift the limit (`ulimit -f unlimited`, LimitFSIZE=), or set a smaller `rotate.size`; else writing stops as on a full disk",
        )
    } else {
        Finding::ok(words)
    })
}

/// The ports that connections go out from.
fn ports(machine: &Machine, sources: u64) -> Option<Finding> {
    let range = machine.read("proc/sys/net/ipv4/ip_local_port_range")?;
    let mut numbers = range.split_whitespace().filter_map(|number| number.parse::<u64>().ok());
    let (first, last) = (numbers.next()?, numbers.next()?);
    let count = (last + 1).saturating_sub(first);
    let words = format!("connections may go out from {count} ports ({first} to {last})");
    Some(if count < sources * PORTS_OF_SOURCE {
        Finding::warn(
            format!("{words}, which is little for {}", counted(sources, "source")),
            "widen net.ipv4.ip_local_port_range (sysctl); a port rests for a minute after each connection",
        )
    } else {
        Finding::ok(words)
    })
}

#[cfg(test)]
mod tests {
    use super::super::case::machine;
    use super::super::finding::text;
    use super::*;

    #[test]
    fn limits_are_judged() {
        let files = |most, now, need| open_files(OpenFiles { most, now }, need, "the service", 20);
        let found = [
            files(None, None, 200),
            files(Some(1024), Some(80), 200),
            files(Some(300), None, 200),
            files(Some(64), None, 200),
            files(Some(1024), Some(1000), 200),
        ];
        insta::assert_snapshot!(text(&found), @"
            ok: the service may have any number of files open
            ok: the service may have 1024 files open and has 80 open; 20 sources may want 200
            warn: the service may have 300 files open; 20 sources may want 200
                do: raise the limit to 1024 or more: `ulimit -Hn`, LimitNOFILE= of a systemd unit, `ulimits:` of a container
            bad: the service may have 64 files open; 20 sources may want 200
                do: raise the limit to 1024 or more: `ulimit -Hn`, LimitNOFILE= of a systemd unit, `ulimits:` of a container
            bad: the service may have 1024 files open and has 1000 open; 20 sources may want 200
                do: raise the limit to 1024 or more: `ulimit -Hn`, LimitNOFILE= of a systemd unit, `ulimits:` of a container
        ");
        let found: Vec<Finding> =
            [None, Some(1 << 20), Some(1 << 30)].into_iter().filter_map(|most| file_size(most, 64 << 20)).collect();
        insta::assert_snapshot!(text(&found), @"
            bad: no file may be longer than 1.0 MiB (ulimit -f), and segments are up to 64.0 MiB
                do: lift the limit (`ulimit -f unlimited`, LimitFSIZE=), or set a smaller `rotate.size`; else writing stops as on a full disk
            ok: no file may be longer than 1.0 GiB (ulimit -f), and segments are up to 64.0 MiB
        ");
    }

    #[test]
    fn what_the_system_says_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n";
        let machine = machine(
            dir.path(),
            &[
                ("proc/7/limits", limits),
                ("proc/7/fd/0", ""),
                ("proc/7/fd/1", ""),
                ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
            ],
        );
        let files = of_process(&machine, "7");
        assert_eq!((files.most, files.now), (Some(1024), Some(2)));
        let found = [ports(&machine, 10).unwrap(), ports(&machine, 10_000).unwrap()];
        insta::assert_snapshot!(text(&found), @"
            ok: connections may go out from 28232 ports (32768 to 60999)
            warn: connections may go out from 28232 ports (32768 to 60999), which is little for 10000 sources
                do: widen net.ipv4.ip_local_port_range (sysctl); a port rests for a minute after each connection
        ");
    }
}
