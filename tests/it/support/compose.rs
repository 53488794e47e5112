//! Lines for `docker compose`, held against the file that they are about. `scripts/test-compose` runs that file itself.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Panics when the compose file has no such profile or service, when the program in it does not know what it is told, and
/// where there is a compose to ask, when that refuses the file.
pub fn check(root: &Path, place: &str, command: &str) {
    let file = std::fs::read_to_string(root.join("docker-compose.yml")).unwrap();
    let file: Value = serde_saphyr::from_str(&file).unwrap();
    let services = file["services"].as_object().unwrap();
    let mut words = command.split_whitespace().skip(1).peekable();
    assert_eq!(words.next(), Some("compose"), "{place}: `{command}`: only compose is known here");
    while words.peek() == Some(&"--profile") {
        words.next();
        let profile = words.next().unwrap_or_default();
        let has =
            |service: &Value| service["profiles"].as_array().is_some_and(|all| all.iter().any(|one| one == profile));
        assert!(services.values().any(has), "{place}: `{command}`: there is no profile {profile}");
    }
    match words.next() {
        Some("up" | "down" | "build" | "logs") => {
            for word in words.filter(|word| !word.starts_with('-')) {
                assert!(services.contains_key(word), "{place}: `{command}`: there is no service {word}");
            }
        }
        Some("exec") => {
            let service = words.next().unwrap_or_default();
            assert!(services.contains_key(service), "{place}: `{command}`: there is no service {service}");
            let program = words.next().unwrap_or_default();
            if service == "tapline" {
                assert!(program.ends_with("tapline"), "{place}: `{command}`: there is no other program in the image");
                let told: Vec<&str> = words.chain(["--help"]).collect();
                let output = Command::new(env!("CARGO_BIN_EXE_tapline")).args(told).output().unwrap();
                assert!(output.status.success(), "{place}: `{command}`: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
        other => panic!("{place}: `{command}`: {other:?} is not known here"),
    }
    for compose in [&["docker", "compose"][..], &["docker-compose"]] {
        let run = |more: &[&str]| Command::new(compose[0]).args(&compose[1..]).args(more).current_dir(root).output();
        if run(&["version"]).is_ok_and(|output| output.status.success()) {
            let output = run(&["config", "--quiet"]).unwrap();
            assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
            return;
        }
    }
}
