//! The data folder's format: a later one is refused and left alone, an earlier one is upgraded whatever ends the process
//! and whenever, and a folder that the first version has written works for ever.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tapline::config::Durability;
use tapline::fs::{Disk, Fs};
use tapline::pipeline::commit::Commits;
use tapline::pipeline::format::{FILE, Formats, OURS, Stamp, Unfit, Upgrade};
use tapline::pipeline::state::Watch;

use crate::support::kill_fs::KillFs;
use crate::support::sim_fs::{Crash, Fault, SimFs};
use crate::support::tap::Tap;

/// A version of which this one is the grandfather: its folders have `words` in the place of `text`, and then in capitals.
const LATER: Formats = Formats {
    tapline: "0.3.0",
    format: 3,
    upgrades: &[
        Upgrade { from: 1, about: "the text becomes words", run: words_of_text },
        Upgrade { from: 2, about: "words become capitals", run: capitals },
    ],
};

const TEXT: &str = "one two three\n";

const CAPITALS: &str = "ONE\nTWO\nTHREE\n";

fn own(root: &Path) -> PathBuf {
    root.join(".tapline")
}

fn words_of_text(fs: &dyn Fs, root: &Path) -> anyhow::Result<()> {
    // A repeated step finds that it has been done already.
    if let Some(text) = text_of(fs, &root.join("text")) {
        put(fs, root, "words", &text.replace(' ', "\n"))?;
        fs.remove(&root.join("text"))?;
        fs.sync_dir(root)?;
    }
    Ok(())
}

fn capitals(fs: &dyn Fs, root: &Path) -> anyhow::Result<()> {
    let words = text_of(fs, &root.join("words")).expect("the step before has made it");
    put(fs, root, "words", &words.to_uppercase())
}

fn put(fs: &dyn Fs, root: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let aside = root.join("aside");
    fs.remove(&aside)?;
    let mut file = fs.create(&aside)?;
    file.append(text.as_bytes())?;
    file.sync()?;
    fs.rename(&aside, &root.join(name))?;
    fs.sync_dir(root)?;
    Ok(())
}

fn text_of(fs: &dyn Fs, path: &Path) -> Option<String> {
    let mut text = String::new();
    fs.read_from(path, 0).ok()?.read_to_string(&mut text).unwrap();
    Some(text)
}

/// A folder of the first format with something in it.
fn begin(fs: &dyn Fs, root: &Path) {
    OURS.take_up(fs, root).unwrap();
    put(fs, root, "text", TEXT).unwrap();
}

/// Whoever may open the folder finds it as its format says, and the later version brings the upgrade to its end.
fn check(fs: &dyn Fs, root: &Path, context: &str) {
    if OURS.check_for_writing(fs, &own(root)).is_ok() {
        assert_eq!(
            text_of(fs, &root.join("text")).as_deref(),
            Some(TEXT),
            "{context}: the first version finds its text"
        );
    }
    if LATER.check_for_reading(fs, &own(root)).is_ok() {
        assert_eq!(text_of(fs, &root.join("words")).as_deref(), Some(CAPITALS), "{context}: a reader finds capitals");
    }
    LATER.take_up(fs, root).unwrap_or_else(|error| panic!("{context}: {error:#}"));
    check_done(fs, root, context);
}

fn check_done(fs: &dyn Fs, root: &Path, context: &str) {
    assert_eq!(text_of(fs, &root.join("words")).as_deref(), Some(CAPITALS), "{context}");
    assert_eq!(text_of(fs, &root.join("text")), None, "{context}");
    let stamp = Stamp::read(fs, &own(root)).unwrap().unwrap();
    assert_eq!((stamp.format, &*stamp.tapline, stamp.upgrading_to), (3, "0.3.0", None), "{context}");
    LATER.check_for_reading(fs, &own(root)).unwrap();
    let refused = OURS.check_for_writing(fs, &own(root)).unwrap_err();
    assert!(matches!(refused.downcast_ref(), Some(Unfit::Later { format: 3, .. })), "{context}: {refused:#}");
}

#[test]
fn an_upgrade_ends_well_wherever_a_crash_or_a_full_disk_comes() {
    let root = Path::new("/srv/data");
    let mut ends = BTreeMap::<&str, u64>::new();
    for seed in 0..8 {
        let fresh = SimFs::new(seed);
        begin(&fresh, root);
        let whole = fresh.copy();
        LATER.take_up(&whole, root).unwrap();
        check_done(&whole, root, "with nothing going wrong");
        for op in fresh.ops() + 1..=whole.ops() {
            let faults = [
                ("kill", Fault::Crash(9), Crash::Process),
                ("power", Fault::Crash(9), Crash::Power),
                ("full", Fault::Full(9), Crash::Process),
                ("broken", Fault::Broken(9), Crash::Power),
            ];
            for (name, fault, crash) in faults {
                let context = format!("seed {seed}, {name} at step {op} of {}", whole.ops());
                let fs = fresh.copy();
                fs.fail_at(op, fault);
                if LATER.take_up(&fs, root).is_err() {
                    *ends.entry(name).or_default() += 1;
                }
                fs.restart(crash);
                // The second try is cut off as well, at the same place of it.
                let again = fs.copy();
                again.fail_at(fs.ops() + op - fresh.ops(), fault);
                LATER.take_up(&again, root).ok();
                again.restart(crash);
                check(&again, root, &format!("{context}, twice"));
                check(&fs, root, &context);
            }
        }
    }
    println!("{ends:?}");
    assert!(ends.len() == 4 && ends.values().all(|count| *count > 50), "{ends:?}");
}

/// A real process on a real disk, killed at each operation of the upgrade.
#[test]
fn an_upgrade_ends_well_when_it_is_killed_anywhere() {
    let mut kills = 0;
    for at in 1.. {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        fs::create_dir(&root).unwrap();
        begin(&Disk, &root);
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["format::child", "--exact", "--nocapture", "--test-threads=1"])
            .env("TAPLINE_TEST_FOLDER", &root)
            .env("TAPLINE_TEST_KILL_AT", at.to_string())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if String::from_utf8_lossy(&output.stdout).contains("killed at ") {
            kills += 1;
            check(&Disk, &root, &format!("killed at operation {at}"));
            continue;
        }
        assert!(output.status.success(), "{output:?}");
        check_done(&Disk, &root, "not killed");
        break;
    }
    assert!(kills > 20, "only {kills} operations were killed at");
}

/// Not a test by itself: upgrades a folder on a disk that ends the process at a given operation.
#[test]
fn child() {
    let (Ok(folder), Ok(at)) = (std::env::var("TAPLINE_TEST_FOLDER"), std::env::var("TAPLINE_TEST_KILL_AT")) else {
        return;
    };
    LATER.take_up(&KillFs::new(at.parse().unwrap()), Path::new(&folder)).unwrap();
}

/// Everything in a folder: names, lengths, content, and when it was written.
fn all(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let modified = fs::symlink_metadata(&path).unwrap().modified().unwrap();
        if path.is_dir() && !path.is_symlink() {
            found.extend(all(&path));
            found.insert(path, (Vec::new(), modified));
        } else {
            found.insert(path.clone(), (fs::read(&path).unwrap_or_default(), modified));
        }
    }
    found
}

/// A folder that a service has written.
fn written() -> Tap {
    let tap = Tap::new();
    tap.settings(&format!("loaders: [{{ name: out, to: 'sqlite:{}' }}]\n", tap.path("out.db").display()));
    tap.source("nobody", "kind: scrape\nurl: http://127.0.0.1:9/\nevery: 200ms\nfields: { a: b }\n");
    let mut process = tap.start();
    tap.wait_for_lines("_ledger", 1);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    tap
}

/// The file's line with its checksum, made by another road than the product's own.
fn sealed(text: &str) -> String {
    let begin = text.strip_suffix('}').unwrap();
    format!("{begin},\"crc32\":\"{:08x}\"}}\n", crc32fast::hash(begin.as_bytes()))
}

fn stamp(tap: &Tap, text: &str) {
    fs::write(tap.data().join(".tapline").join(FILE), text).unwrap();
}

/// Every command that opens a data folder.
const COMMANDS: &[&[&str]] = &[
    &["run", "--once"],
    &["status"],
    &["coverage"],
    &["tail", "_ledger", "--no-follow"],
    &["loaders"],
    &["load", "--to", "sqlite:out.db"],
    &["export", "--to", "csv", "--out", "export"],
    &["redrive", "out"],
];

#[test]
fn a_later_format_is_refused_by_every_command_without_changing_a_byte() {
    let tap = written();
    stamp(&tap, &sealed("{\"format\":7,\"tapline\":\"3.2.1\",\"something\":\"new\"}"));
    let before = all(&tap.data());
    for arguments in COMMANDS {
        let output = tap.command(arguments).current_dir(tap.path("")).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = format!(
            "{} has the data format 7, which tapline 3.2.1 wrote; this is tapline {} and knows formats up to 1: start \
             tapline 3.2.1 or a later one (nothing was changed)",
            tap.data().display(),
            env!("CARGO_PKG_VERSION")
        );
        assert!(said.contains(&expected), "{arguments:?}: {said}");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(all(&tap.data()) == before, "{arguments:?} changed something");
    }
}

/// What `tapline load` keeps is a folder of its own, with a format of its own.
#[test]
fn a_later_format_of_what_load_keeps_is_refused() {
    let tap = written();
    let store = tap.path("loaded.db");
    let to = format!("sqlite:{}", store.display());
    let load = || tap.command(&["load", "--to", &to, "--name", "mine"]).output().unwrap();
    assert!(load().status.success());
    let own = tap.data().join(".tapline/load/mine/.tapline");
    fs::write(own.join(FILE), sealed("{\"format\":7,\"tapline\":\"3.2.1\"}")).unwrap();
    let before = all(&tap.data());
    for output in [load(), tap.command(&["loaders"]).output().unwrap()] {
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("load/mine has the data format 7, which tapline 3.2.1 wrote"), "{said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(all(&tap.data()) == before, "something was changed");
    }
}

/// An upgrade that a later version has begun is no business of this one.
#[test]
fn an_unfinished_upgrade_of_a_later_version_is_refused() {
    let tap = written();
    stamp(&tap, &sealed("{\"format\":1,\"tapline\":\"3.2.1\",\"upgrading_to\":2}"));
    let before = all(&tap.data());
    for arguments in COMMANDS {
        let output = tap.command(arguments).current_dir(tap.path("")).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("has the data format 2, which tapline 3.2.1 wrote"), "{arguments:?}: {said}");
        assert!(all(&tap.data()) == before, "{arguments:?} changed something");
    }
}

/// A damaged file counts as none, as long as the commit log tells the format.
#[test]
fn a_damaged_file_stops_nothing_and_is_mended() {
    let tap = written();
    let file = tap.data().join(".tapline").join(FILE);
    let whole = fs::read_to_string(&file).unwrap();
    let later = sealed("{\"format\":7,\"tapline\":\"0.1.0\"}");
    let damages = ["", "{", "\0\0\0\0", &sealed("{\"format\":0,\"tapline\":\"0.1.0\"}"), &later.replace('7', "8")];
    for damage in damages {
        fs::write(&file, damage).unwrap();
        let output = tap.command(&["tail", "_ledger", "--no-follow"]).output().unwrap();
        assert!(output.status.success(), "{damage:?}: {output:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), damage, "who reads writes nothing");
        let mut process = tap.start();
        assert_eq!(process.terminate().0, Some(0));
        assert_eq!(fs::read_to_string(&file).unwrap(), whole);
    }
    let said = "the file that says the data folder's format is damaged; it is written again";
    assert_eq!(tap.log().matches(said).count(), damages.len(), "{}", tap.log());
}

/// Where neither tells, a later version may have written the folder, and nothing is touched.
#[test]
fn a_damaged_file_beside_a_damaged_log_is_refused() {
    let tap = written();
    stamp(&tap, "{");
    for log in fs::read_dir(tap.data().join(".tapline")).unwrap().map(|entry| entry.unwrap().path()) {
        if log.extension().is_some_and(|ending| ending == "log") {
            fs::write(log, "not a frame").unwrap();
        }
    }
    let before = all(&tap.data());
    for arguments in COMMANDS {
        let output = tap.command(arguments).current_dir(tap.path("")).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("format.json is damaged, and the commit log does not tell"), "{arguments:?}: {said}");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(all(&tap.data()) == before, "{arguments:?} changed something");
    }
}

/// What the first versions wrote had no such file; it comes with the next start.
#[test]
fn a_folder_that_does_not_say_its_format_has_the_first() {
    let tap = written();
    let file = tap.data().join(".tapline").join(FILE);
    fs::remove_file(&file).unwrap();
    let output = tap.command(&["tail", "_ledger", "--no-follow"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!file.exists(), "who reads writes nothing");
    let mut process = tap.start();
    assert_eq!(process.terminate().0, Some(0));
    let expected = sealed(&format!("{{\"format\":1,\"tapline\":\"{}\"}}", env!("CARGO_PKG_VERSION")));
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
}

/// A reader that follows a folder stops when a later version takes it up.
#[test]
fn who_follows_a_folder_notices_that_it_was_upgraded() {
    let dir = tempfile::tempdir().unwrap();
    let now = "2026-11-23T07:04:05Z".parse().unwrap();
    let open = || Commits::open(Arc::new(Disk), dir.path(), Durability::Process, now).unwrap();
    drop(open());
    let mut watch = Watch::new(Arc::new(Disk), &own(dir.path()));
    assert!(watch.refresh().unwrap());
    drop(open());
    assert!(watch.refresh().unwrap(), "a start of the same version is none");
    drop(open());
    fs::write(own(dir.path()).join(FILE), sealed("{\"format\":2,\"tapline\":\"0.2.0\"}")).unwrap();
    let error = format!("{:#}", watch.refresh().unwrap_err());
    assert!(error.contains("has the data format 2"), "{error}");
}

#[test]
fn the_words_of_each_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir(own(root)).unwrap();
    let words = |formats: &Formats, text: &str, reads: bool| {
        let text = sealed(text);
        fs::write(own(root).join(FILE), &text).unwrap();
        let refused = if reads {
            formats.check_for_reading(&Disk, &own(root)).unwrap_err()
        } else {
            formats.take_up(&Disk, root).unwrap_err()
        };
        assert_eq!(fs::read_to_string(own(root).join(FILE)).unwrap(), text, "nothing was changed");
        format!("{refused:#}").replace(&root.display().to_string(), "data")
    };
    let later = Formats { upgrades: &LATER.upgrades[1..], ..LATER };
    insta::assert_snapshot!(words(&later, "{\"format\":1,\"tapline\":\"0.1.0\"}", false), @"data has the data format 1, which tapline 0.1.0 wrote; this is tapline 0.3.0 and reads formats from 2 on: start a version between the two once, it upgrades the folder (nothing was changed)");
    insta::assert_snapshot!(words(&LATER, "{\"format\":1,\"tapline\":\"0.1.0\"}", true), @"data has the data format 1, which tapline 0.1.0 wrote, and this is tapline 0.3.0 with format 3: start what writes the folder once (`tapline run`), it upgrades it");
    insta::assert_snapshot!(words(&LATER, "{\"format\":1,\"tapline\":\"0.3.0\",\"upgrading_to\":2}", true), @"the upgrade of data to the data format 2 was begun and has not ended: start what writes the folder (`tapline run`), it goes on with it");
    insta::assert_snapshot!(words(&LATER, "{\"format\":4,\"tapline\":\"0.4.0\"}", false), @"data has the data format 4, which tapline 0.4.0 wrote; this is tapline 0.3.0 and knows formats up to 3: start tapline 0.4.0 or a later one (nothing was changed)");
}

/// Every key that the code puts into the state stands in `docs/format.md`.
#[test]
fn every_key_of_the_state_is_described() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/format.md")).unwrap();
    let (mut keys, mut dirs) = (Vec::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline")]);
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let constants = text.split("_KEY: &str = \"").skip(1).filter_map(|rest| rest.split_once('"'));
            keys.extend(constants.map(|(key, _)| key.to_owned()));
            // `fn stream_key(…) -> String { format!("stream/{stream}") }`
            for function in
                text.split("_key(").skip(1).filter(|function| function.contains(") -> String {\n    format!(\""))
            {
                let (_, format) = function.split_once("format!(\"").unwrap();
                let key: String = format.chars().take_while(char::is_ascii_lowercase).collect();
                keys.push(key);
            }
        }
    }
    keys.retain(|key| !key.is_empty());
    assert!(keys.len() >= 8 && keys.contains(&"stream".to_owned()), "{keys:?}");
    for key in keys {
        assert!(page.contains(&format!("\n| `{key}")), "docs/format.md has the key {key}");
    }
}

/// The steps of this version lead from its oldest format to its own, without a hole.
#[test]
fn our_steps_follow_each_other() {
    let steps: Vec<u32> = OURS.upgrades.iter().map(|step| step.from).collect();
    assert_eq!(steps, (OURS.oldest()..OURS.format).collect::<Vec<_>>());
    assert_eq!(OURS.oldest(), 1, "no format is ever given up without a word in CHANGELOG.md; then change this line");
}
