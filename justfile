# What there is to do. `just --list`.

# Everything that must pass before a change lands.
ci:
    .ci/run

# The fast part of it.
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings

# All tests; `just test quick`, `just test torture`.
test *arguments:
    scripts/test {{arguments}}

# A simulated exchange and a simulated X, three sources, lines as they come.
demo:
    cargo run -- demo

# Writes the pages and schemas that are generated from the settings.
docs:
    cargo run -- adapters --write docs/adapters
    cargo run -- schema --write docs/schema
    cargo run -- manual --reference > docs/reference.md

# Ours beside Scrapy and aiohttp+selectolax, on one local nginx.
bench-peers:
    scripts/bench-peers

# Ours beside tweepy, requests+orjson and curl, on one flood of posts.
bench-stream:
    scripts/bench-stream

# Live streams of messages of 1 KB, into durable segments.
bench-live:
    scripts/bench-live

# Speed of loading beside the stores' own tools
bench-load:
    scripts/bench-load
