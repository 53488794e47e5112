//! Memory, processors, and the container that this is in.

use bytesize::ByteSize;

use super::case::{Case, Machine};
use super::finding::{Finding, counted};

/// What a service takes: by itself, and for each source and loader; measured, with room.
const BY_ITSELF: u64 = 64 << 20;
const OF_SOURCE: u64 = 256 << 10;
const OF_LOADER: u64 = 8 << 20;

/// With less than half a processor pages are parsed late.
const PROCESSORS_MIN: f64 = 0.5;

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let sources = case.sources.good.iter().filter(|source| source.enabled).count() as u64;
    let need = BY_ITSELF + sources * OF_SOURCE + case.settings.loaders.len() as u64 * OF_LOADER;
    let (process, _) = case.process();
    let groups = Groups::of(&case.machine, &process);
    let mut findings = vec![memory(&case.machine, &groups, need), processors(&groups)];
    findings
        .extend(case.machine.container().map(|container| Finding::ok(format!("this is in a container ({container})"))));
    findings
}

/// What the control groups of a process allow it.
#[derive(Debug, Default, PartialEq)]
struct Groups {
    /// The least limit of memory on the way up, in bytes.
    memory: Option<u64>,
    /// The least quota, in processors.
    processors: Option<f64>,
}

impl Groups {
    /// Reads both forms of control groups.
    fn of(machine: &Machine, process: &str) -> Self {
        let mut groups = Self::default();
        let lists = machine.read(&format!("proc/{process}/cgroup")).unwrap_or_default();
        for line in lists.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(kinds), Some(path)) = (parts.next(), parts.next()) else { continue };
            for dir in above(path) {
                if kinds.is_empty() {
                    groups.add_v2(machine, &format!("sys/fs/cgroup{dir}"));
                } else {
                    groups.add_v1(machine, kinds, dir);
                }
            }
        }
        groups
    }

    fn add_v2(&mut self, machine: &Machine, dir: &str) {
        for file in ["memory.max", "memory.high"] {
            self.add_memory(machine.number(&format!("{dir}/{file}")));
        }
        let quota = machine.read(&format!("{dir}/cpu.max"));
        let mut numbers = quota.iter().flat_map(|text| text.split_whitespace()).map(|word| word.parse::<f64>().ok());
        self.add_quota(numbers.next().flatten(), numbers.next().flatten());
    }

    fn add_v1(&mut self, machine: &Machine, kinds: &str, dir: &str) {
        for kind in kinds.split(',') {
            let at = format!("sys/fs/cgroup/{kind}{dir}");
            match kind {
                "memory" => self.add_memory(machine.number(&format!("{at}/memory.limit_in_bytes"))),
                "cpu" => {
                    #[expect(clippy::cast_precision_loss, reason = "microseconds of a tenth of a second")]
                    let [quota, period] = ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
                        .map(|file| machine.number(&format!("{at}/{file}")).map(|number| number as f64));
                    self.add_quota(quota, period);
                }
                _ => {}
            }
        }
    }

    fn add_memory(&mut self, limit: Option<u64>) {
        // The older form writes no limit as a number that no machine has.
        let limit = limit.filter(|limit| *limit < 1 << 60);
        self.memory = self.memory.into_iter().chain(limit).min();
    }

    fn add_quota(&mut self, quota: Option<f64>, period: Option<f64>) {
        let Some((quota, period)) = quota.zip(period).filter(|(quota, period)| *quota > 0.0 && *period > 0.0) else {
            return;
        };
        let processors = quota / period;
        self.processors = Some(self.processors.map_or(processors, |known| known.min(processors)));
    }
}

/// A path and all above it, down to the empty one, which is the root.
fn above(path: &str) -> impl Iterator<Item = &str> {
    let mut next = Some(path.trim_end_matches('/'));
    std::iter::from_fn(move || {
        let path = next?;
        next = path.rfind('/').map(|slash| &path[..slash]);
        Some(path)
    })
}

fn memory(machine: &Machine, groups: &Groups, need: u64) -> Finding {
    let kib = |name: &str| {
        let table = machine.read("proc/meminfo")?;
        let line = table.lines().find(|line| line.starts_with(name))?.split_whitespace().nth(1)?.parse::<u64>().ok()?;
        Some(line << 10)
    };
    let (total, available) = (kib("MemTotal:"), kib("MemAvailable:"));
    let shown = |bytes| ByteSize(bytes).to_string();
    let limit = groups.memory.filter(|limit| total.is_none_or(|total| *limit < total));
    let (words, have) = match (limit, total, available) {
        (Some(limit), ..) => (format!("the control group allows {} of memory", shown(limit)), limit),
        (None, Some(total), Some(available)) => (
            format!("{} of {} of memory are free, and no control group limits it", shown(available), shown(total)),
            available,
        ),
        _ => return Finding::ok("how much memory there is cannot be told"),
    };
    let words = format!("{words}; these sources and loaders need about {}", shown(need));
    let todo = "allow more (MemoryMax=, `mem_limit:`): a process that runs out of memory is killed; nothing that was committed is lost, and what comes until the next start is missed";
    if have < need {
        Finding::bad(words, todo)
    } else if have < need * 2 {
        Finding::warn(words, todo)
    } else {
        Finding::ok(words)
    }
}

fn processors(groups: &Groups) -> Finding {
    let online = std::thread::available_parallelism().map_or(1, usize::from);
    let Some(quota) = groups.processors else {
        return Finding::ok(format!("{}, and no control group limits it", counted(online as u64, "processor")));
    };
    let words = format!("the control group allows {quota:.2} of {online} processors");

    if quota < PROCESSORS_MIN {
        Finding::warn(
            words,
            "allow more (CPUQuota=, `cpus:`): with so little, pages are parsed late and ticks are skipped",
        )
    } else {
        Finding::ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::machine;
    use super::super::finding::text;
    use super::*;

    fn groups(files: &[(&str, &str)]) -> Groups {
        let dir = tempfile::tempdir().unwrap();
        Groups::of(&machine(dir.path(), files), "self")
    }

    #[test]
    fn limits_of_both_forms_are_read_on_the_whole_way_up() {
        let found = groups(&[
            ("proc/self/cgroup", "0::/system.slice/tapline.service\n"),
            ("sys/fs/cgroup/system.slice/tapline.service/memory.max", "max\n"),
            ("sys/fs/cgroup/system.slice/tapline.service/memory.high", "536870912\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/system.slice/tapline.service/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n"),
        ]);
        assert_eq!(found, Groups { memory: Some(512 << 20), processors: Some(1.5) });
        let found = groups(&[
            ("proc/self/cgroup", "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "67108864\n"),
            ("sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", "25000\n"),
            ("sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(found, Groups { memory: Some(64 << 20), processors: Some(0.25) });
        // In a container of its own name space the group is the root.
        let found = groups(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "134217728\n")]);
        assert_eq!(found, Groups { memory: Some(128 << 20), processors: None });
        let unlimited = [
            ("proc/self/cgroup", "4:memory:/\n3:cpu:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
        ];
        assert_eq!(groups(&unlimited), Groups::default());
        assert_eq!(groups(&[]), Groups::default());
    }

    #[test]
    fn memory_and_processors_are_judged() {
        let dir = tempfile::tempdir().unwrap();
        let meminfo = "MemTotal:       16000000 kB\nMemFree:  100 kB\nMemAvailable:    9000000 kB\n";
        let machine = machine(dir.path(), &[("proc/meminfo", meminfo)]);
        let of = |limit: Option<u64>| memory(&machine, &Groups { memory: limit, processors: None }, 80 << 20);
        let found = [of(None), of(Some(1 << 40)), of(Some(512 << 20)), of(Some(100 << 20)), of(Some(64 << 20))];
        insta::assert_snapshot!(text(&found), @"
            ok: 8.6 GiB of 15.3 GiB of memory are free, and no control group limits it; these sources and loaders need about 80.0 MiB
            ok: 8.6 GiB of 15.3 GiB of memory are free, and no control group limits it; these sources and loaders need about 80.0 MiB
            ok: the control group allows 512.0 MiB of memory; these sources and loaders need about 80.0 MiB
            warn: the control group allows 100.0 MiB of memory; these sources and loaders need about 80.0 MiB
                do: allow more (MemoryMax=, `mem_limit:`): a process that runs out of memory is killed; nothing that was committed is lost, and what comes until the next start is missed
            bad: the control group allows 64.0 MiB of memory; these sources and loaders need about 80.0 MiB
                do: allow more (MemoryMax=, `mem_limit:`): a process that runs out of memory is killed; nothing that was committed is lost, and what comes until the next start is missed
        ");
        let few = processors(&Groups { memory: None, processors: Some(0.25) });
        assert_eq!(few.level, super::super::finding::Level::Warn);
        assert!(few.words.starts_with("the control group allows 0.25 of "), "{few:?}");
    }
}
