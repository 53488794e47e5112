//! What holds of every robots.txt: what it says is what RFC 9309 says, and what says nothing changes nothing.

use url::Url;

use super::{CRAWL_DELAY_MAX, File, Rules, Verdict, is_token, verdict};

const AGENT: &str = "tapline";
const PATHS: [&str; 5] = ["/", "/a", "/a/b.html", "/b?a=1", "/robots.txt"];

/// A path, and any bytes as a file; and the same bytes as a file whose lines are rules.
pub(crate) fn any(path: &str, file: &[u8]) {
    let is_path = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-?=&".contains(&byte));
    let own = page(&format!("/{}", if is_path { path.trim_start_matches('/') } else { "" }));
    for line in file.split(|byte| matches!(byte, b'\n' | b'\r' | b'\0')) {
        let shown = String::from_utf8_lossy(line);
        assert_eq!(begins_group(&super::with_tokens(line)), begins_group(line), "{shown:?} is for an agent, or is not");
    }
    for path in PATHS.iter().copied().chain([&own[url::Position::BeforePath..url::Position::AfterQuery]]) {
        says_nothing(path, file);
        if let Some(rules) = written(&String::from_utf8_lossy(file)) {
            let said = ask(&rules, path);
            assert_eq!(said.forbidden.is_none(), is_allowed(&rules, path), "{path} by\n{rules}");
        }
    }
}

fn page(path: &str) -> Url {
    format!("http://a.example{path}").parse().expect("the path is one")
}

fn ask(file: &str, path: &str) -> Verdict {
    ask_bytes(file.as_bytes(), path)
}

fn ask_bytes(file: &[u8], path: &str) -> Verdict {
    let url = page(path);
    let mut rules = Rules::File(File::new(file));
    let said = verdict(&mut rules, AGENT, &url);
    assert_eq!(verdict(&mut rules, AGENT, &url), said, "asked twice");
    said
}

/// Whether a line is for an agent: then what comes after it is not for the agent before it.
fn begins_group(line: &[u8]) -> bool {
    let file = [b"User-agent: nobody-else\nAllow: /a\n", line, b"\nDisallow: /\n"].concat();
    robotxt::Robots::parse(&file, "nobody-else").is_allowed("/b")
}

/// Whatever the file is, there is a verdict, and neither another's group before it nor a comment behind it changes that.
fn says_nothing(path: &str, file: &[u8]) {
    let said = ask_bytes(file, path);
    assert!(said.crawl_delay <= CRAWL_DELAY_MAX);
    assert!(said.forbidden.is_none() || path != "/robots.txt", "{said:?}");
    let with = |before: &str, after: &str| ask_bytes(&[before.as_bytes(), file, after.as_bytes()].concat(), path);
    if !file.starts_with(b"\xef\xbb\xbf") {
        assert_eq!(with("User-agent: another\nDisallow: /\n", ""), said, "{:?}", String::from_utf8_lossy(file));
        assert_eq!(with("\u{feff}", ""), said, "{:?}", String::from_utf8_lossy(file));
    }
    assert_eq!(with("", "\n# Disallow: /\nSitemap: http://a.example/\n"), said, "{:?}", String::from_utf8_lossy(file));
    assert_eq!(ask_bytes(&super::with_tokens(&super::with_tokens(file)), path), said);
}

/// A file of rules: the first letter of each line is its key, and the rest its value. `None` where a value has something
/// in it of which this reading knows nothing.
fn written(lines: &str) -> Option<String> {
    let mut file = String::new();
    for line in lines.lines() {
        let (key, value) = line.split_at_checked(1).unwrap_or((line, ""));
        let key = match key {
            "u" => "User-agent",
            "a" => "allow",
            "d" => "Disallow",
            "c" => "Crawl-delay",
            _ => continue,
        };
        let is_known = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-?=&*$ ".contains(&byte));
        let is_rule = key.eq_ignore_ascii_case("allow") || key == "Disallow";
        let value = value.trim();
        if !is_known || is_rule && (value.contains(' ') || !value.is_empty() && !value.starts_with('/')) {
            return None;
        }
        file.extend([key, ": ", value, "\n"]);
    }
    Some(file)
}

/// Agents, and the rules for them: whether each allows, and its pattern.
type Group<'a> = (Vec<String>, Vec<(bool, &'a str)>);

/// The RFC read anew, and as slowly as may be.
fn is_allowed(file: &str, path: &str) -> bool {
    if path == "/robots.txt" {
        return true;
    }
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut in_agents = false;
    for (key, value) in file.lines().filter_map(|line| line.split_once(": ")) {
        let rule = match key {
            "User-agent" => {
                if !in_agents {
                    groups.push((Vec::new(), Vec::new()));
                }
                in_agents = true;
                let token: String = value.chars().take_while(|c| is_token(*c)).collect();
                let agent = if token.is_empty() { value.to_owned() } else { token };
                groups.last_mut().expect("one was begun").0.push(agent.to_ascii_lowercase());
                continue;
            }
            "allow" => Some((true, value)),
            "Disallow" => Some((false, value)),
            _ => None,
        };
        in_agents = false;
        if let Some((_, rules)) = groups.last_mut() {
            rules.extend(rule.filter(|(_, value)| !value.is_empty()));
        }
    }
    let has = |agent: &str| groups.iter().any(|(agents, _)| agents.iter().any(|own| own == agent));
    let agent = if has(AGENT) { AGENT } else { "*" };
    let own = groups.iter().filter(|(agents, _)| agents.iter().any(|own| own == agent));
    let rules = own.flat_map(|(_, rules)| rules).filter(|(_, pattern)| is_match(pattern.as_bytes(), path.as_bytes()));
    // The longest counts, and of two as long the one that allows.
    rules.max_by_key(|(allows, pattern)| (pattern.len(), *allows)).is_none_or(|(allows, _)| *allows)
}

/// Whether a pattern matches the beginning of a path, or with `$` all of it.
fn is_match(pattern: &[u8], path: &[u8]) -> bool {
    // Where in the path one may be after each character of the pattern.
    let mut at = vec![false; path.len() + 1];
    at[0] = true;
    for (index, wanted) in pattern.iter().enumerate() {
        let first = at.iter().position(|is_there| *is_there).unwrap_or(at.len());
        at = match wanted {
            b'*' => (0..at.len()).map(|to| to >= first).collect(),
            b'$' if index + 1 == pattern.len() => (0..at.len()).map(|to| to == path.len() && at[to]).collect(),
            wanted => (0..at.len()).map(|to| to > 0 && at[to - 1] && path[to - 1] == *wanted).collect(),
        };
    }
    at.contains(&true)
}
