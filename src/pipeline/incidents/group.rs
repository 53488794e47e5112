//! What breaks together: by the same words for why, by the same host, or simply by being many at once.

use std::collections::HashMap;

use super::Condition;

/// So many that break at the same time are one incident, whatever each of them says.
pub(super) const MANY: usize = 3;

type Group = Vec<(String, Condition)>;

/// Conditions of one kind that became due together, in as few groups as there are reasons.
pub(super) fn groups(all: Vec<(String, Condition)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_word: HashMap<String, usize> = HashMap::new();
    for (key, condition) in all {
        let words =
            [Some(format!("why {}", cause(&condition.why))), host(&condition.why).map(|host| format!("host {host}"))];
        let words = words.into_iter().flatten();
        let at = words.clone().find_map(|word| by_word.get(&word).copied()).unwrap_or_else(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        for word in words {
            by_word.entry(word).or_insert(at);
        }
        groups[at].push((key, condition));
    }
    if groups.len() >= MANY { vec![groups.into_iter().flatten().collect()] } else { groups }
}

/// Why, without what differs from one to the other: addresses, names of hosts, numbers.
pub(super) fn cause(why: &str) -> String {
    let words = why.split_whitespace().map(|word| word.trim_matches(|edge: char| !edge.is_alphanumeric()));
    let is_word = |word: &&str| !word.is_empty() && word.chars().all(|next| next.is_alphabetic() || next == '_');
    words.filter(is_word).map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

/// The host of the first address in it.
fn host(why: &str) -> Option<&str> {
    let (_, rest) = why.split_once("://")?;
    let end = rest.find(|next: char| !next.is_alphanumeric() && !".-[]".contains(next)).unwrap_or(rest.len());
    Some(&rest[..end]).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Kind;

    fn grouped(whys: &[&str]) -> Vec<usize> {
        let condition = |why: &&str| {
            let condition = Condition {
                kind: Kind::Broken,
                name: String::new(),
                since: None,
                last: None,
                count: 1,
                enough: None,
                why: (*why).to_owned(),
            };
            (String::new(), condition)
        };
        groups(whys.iter().map(condition).collect()).iter().map(Vec::len).collect()
    }

    #[test]
    fn one_reason_or_one_host_is_one_group_and_many_are_one_too() {
        let dns =
            |host: &str| format!("cannot_connect: no connection to https://{host}/p?q=***: dns error: no record found");
        assert_eq!(grouped(&[&dns("a.example"), &dns("b.example")]), [2], "the same words");
        let (down, cut) =
            ("http_status: upstream answered 503 Service Unavailable", "body_cut_off: the page ended after 7 bytes");
        assert_eq!(grouped(&[down, cut]), [1, 1]);
        assert_eq!(
            grouped(&[&dns("a.example"), "no_answer: no answer from https://a.example:8443"]),
            [2],
            "the same host"
        );
        assert_eq!(grouped(&[&dns("a.example"), down, cut, cut]), [4], "three reasons at once are no accident");
        assert!(grouped(&[]).is_empty());
    }

    #[test]
    fn a_cause_has_no_numbers_and_no_addresses() {
        assert_eq!(
            cause("http_status: upstream answered 503 (try 7): \"Gone\""),
            "http_status upstream answered try gone"
        );
        assert_eq!(cause("no connection to https://[::1]:80/: os error 111"), "no connection to os error");
    }
}
