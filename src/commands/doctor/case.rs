//! What is examined: the files, the data, the machine. Everything that several checks look at is read once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::cli::Global;
use crate::config::{Diagnostic, Service};
use crate::context::{Clock, SystemClock};
use crate::report::committed::{Committed, Running};

use crate::commands::check::Checked;
use crate::commands::sources;

/// What is examined.
pub(super) struct Case {
    pub(super) global: Global,
    /// The service's settings; the defaults where its file is broken.
    pub(super) settings: Service,
    /// What is wrong with the service's file.
    pub(super) wrong_settings: Vec<Diagnostic>,
    /// The sources' files.
    pub(super) sources: Checked,
    /// The data as it is committed.
    pub(super) committed: anyhow::Result<Committed>,
    pub(super) machine: Machine,
    pub(super) clock: Arc<dyn Clock>,
}

impl Case {
    /// Reads what there is.
    pub(super) fn of(global: &Global) -> Self {
        let (settings, wrong_settings) = match sources::read_service(global) {
            Ok(settings) => (settings, Vec::new()),
            Err(wrong) => {
                let mut settings = Service::default();
                settings.data = global.data.clone().unwrap_or(settings.data);
                (settings, wrong)
            }
        };
        let sources = Checked::of(std::slice::from_ref(&global.sources));
        let committed = Committed::look(&settings.data);
        let clock = Arc::new(SystemClock);
        Self {
            global: global.clone(),
            settings,
            wrong_settings,
            sources,
            committed,
            machine: Machine::default(),
            clock,
        }
    }

    /// The service that writes the data folder, as far as its lock tells.
    pub(super) fn service(&self) -> Option<&Running> {
        self.committed.as_ref().ok()?.service.as_ref()
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// The data folder, or the folder above it that is there and that it would be made in.
    pub(super) fn place(&self) -> Place {
        let data = &self.settings.data;
        let absolute = std::path::absolute(data).unwrap_or_else(|_| data.clone());
        let dir = absolute.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).to_owned();
        Place { is_data: dir == absolute, dir }
    }

    /// What `/proc` calls the process whose limits count: the service's, where it is seen from here, or this one's.
    pub(super) fn process(&self) -> (String, &'static str) {
        let pid = self.service().and_then(|service| service.pid).map(|pid| pid.to_string());
        let is_tapline =
            |pid: &String| self.machine.read(&format!("proc/{pid}/comm")).is_some_and(|name| name.trim() == "tapline");
        pid.filter(is_tapline).map_or_else(|| ("self".to_owned(), "a process of this user"), |pid| (pid, "the service"))
    }
}

/// A folder that is there.
pub(super) struct Place {
    pub(super) dir: PathBuf,
    /// Whether it is the data folder itself.
    pub(super) is_data: bool,
}

impl Place {
    /// What to call it.
    pub(super) fn name(&self) -> String {
        let dir = self.dir.display();
        if self.is_data {
            format!("the data folder {dir}")
        } else {
            format!("{dir}, where the data folder would be made,")
        }
    }
}

/// The files in which the system tells about itself.
pub(super) struct Machine {
    root: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self { root: "/".into() }
    }
}

impl Machine {
    /// A machine whose files are under a folder, for tests.
    #[cfg(test)]
    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The path of a file, named without its first slash.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The text of a file; `None` where it cannot be read.
    pub(super) fn read(&self, name: &str) -> Option<String> {
        fs::read(self.path(name)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The number in a file.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.read(name)?.trim().parse().ok()
    }

    /// Which container this is in, if it is in one.
    pub(super) fn container(&self) -> Option<String> {
        if let Some(name) = self.read("run/systemd/container").filter(|name| !name.trim().is_empty()) {
            return Some(name.trim().to_owned());
        }
        if self.has(".dockerenv") {
            return Some("docker".to_owned());
        }
        if self.has("run/.containerenv") {
            return Some("podman".to_owned());
        }
        if self.has("var/run/secrets/kubernetes.io") {
            return Some("kubernetes".to_owned());
        }
        let groups = self.read("proc/1/cgroup").unwrap_or_default();
        let known = ["docker", "containerd", "kubepods", "lxc"];
        known.into_iter().find(|name| groups.contains(name)).map(str::to_owned)
    }
}

/// A machine in a folder of a test, with these files.
#[cfg(test)]
pub(super) fn machine(dir: &Path, files: &[(&str, &str)]) -> Machine {
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder of the test");
        fs::write(path, text).expect("a file of the test");
    }
    Machine::at(dir)
}
