//! Memory over time: what comes and goes (hosts, keys, rows, cookies) is forgotten, and nothing grows with the ticks.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;

use crate::manners::serve;
use crate::support::tap::{PATIENCE, Process, Tap, pause, wait_until};

/// How many sources ask ten times a second each.
const SOURCES: usize = 30;
/// Ticks before memory is looked at: by then everything that has a limit has been at it, and was made anew.
const BEFORE: u32 = 10_000;
/// What one process may have more after all ticks, in KiB: the allocator's share, which is more on a busy machine (1 to 5 MiB
/// were seen). One more host kept at each tick is 11 MiB.
const MORE_MAX: u64 = 8 << 10;

/// A host that is new at each request, by the address of this machine that it is asked at.
async fn churn(State((count, port)): State<(Arc<AtomicU32>, u16)>, request: Request) -> Response {
    let close = ("connection", "close".to_owned());
    match request.uri().path() {
        "/robots.txt" => ([close], "User-agent: *\nAllow: /\n").into_response(),
        "/start" => {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let [_, high, middle, low] = number.to_be_bytes();
            let to = format!("http://127.{}.{middle}.{}:{port}/rows?{number}", high + 1, low.max(1));
            (StatusCode::FOUND, [("location", to), close]).into_response()
        }
        _ => {
            let number: u32 = request.uri().query().unwrap().parse().unwrap();
            let rows: String = (0..20)
                .map(|row| format!("<tr><td class=k>key-{number}-{row}</td><td class=v>{row}</td></tr>"))
                .collect();
            let cookie = ("set-cookie", format!("c{number}={number}; Path=/"));
            ([cookie, close], format!("<table>{rows}</table>")).into_response()
        }
    }
}

fn memory_kib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Until even the table of hosts has been full twice, and then more: `TAPLINE_SOAK_TICKS=600000` is a week at one a second.
#[tokio::test(flavor = "multi_thread")]
async fn n18_memory_stays_flat_while_hosts_and_keys_come_and_go() {
    let ticks: u32 = std::env::var("TAPLINE_SOAK_TICKS").map_or(5_000, |ticks| ticks.parse().unwrap());
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::<AtomicU32>::default();
    let site = Router::new().fallback(churn).with_state((Arc::clone(&count), port));
    tokio::spawn(async move { serve(listener, site).await });
    let tap = Tap::new();
    // Lines are not what is looked at: they go, as those of a tap that runs for years.
    tap.settings("rotate: { size: 128KiB }\nretain: { size: 1MiB }\n");
    for number in 0..SOURCES {
        let known = if number % 2 == 0 { "unique: { key: k, remember: 1000 }" } else { "emit: { key: k }" };
        tap.source(
            &format!("s{number}"),
            &format!(
                "kind: scrape\nurl: http://127.0.0.1:{port}/start\nevery: 100ms\nallow_private: true\n\
                 manners: {{ concurrency: 16 }}\ncookies: true\n{known}\n\
                 records: tr\nfields: {{ k: td.k, v: {{ css: td.v, type: integer }} }}\n"
            ),
        );
    }
    let mut process = tap.start();
    let asked = || count.load(Ordering::Relaxed);
    wait_until("it has warmed up", PATIENCE * 3, || asked() >= BEFORE);
    let before = memory_kib(&process);
    let patience = PATIENCE * 3 + Duration::from_millis(50) * ticks;
    wait_until("all ticks", patience, || {
        println!("{} KiB after {}", memory_kib(&process), asked());
        pause(Duration::from_secs(5));
        asked() >= BEFORE + ticks
    });
    let after = memory_kib(&process);
    assert_eq!(process.terminate().0, Some(0), "{}", tap.log());
    let records: usize = (0..SOURCES).map(|number| tap.count(&format!("s{number}"))).sum();
    println!("{before} KiB after {BEFORE} ticks, {after} KiB after {}, {records} records kept", asked());
    assert!(records > 0, "{}", tap.log());
    assert!(after <= before + MORE_MAX, "{before} KiB before, {after} KiB after {ticks} ticks");
}
