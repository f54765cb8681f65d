//! Does one kind of work again and again under callgrind, for `bench/instructions`: `counted NAME TIMES`.

mod marks;
mod material;
mod proxied;
mod pure;

use std::process::ExitCode;

// As the product does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One kind of work, and how often it is done: often enough that single allocations and draws of randomness vanish.
struct Count {
    name: &'static str,
    times: u64,
    run: fn(u64),
    what: &'static str,
}

const COUNTS: [Count; 22] = [
    count("request-h1", 500, proxied::http1, "a request over HTTP/1.1, its token known"),
    count("request-h1-new-token", 500, proxied::http1_new_tokens, "the same, each with a token that was never seen"),
    count("request-h1-refused", 500, proxied::http1_refused, "the same, with a forged token: 401"),
    count("request-h2", 500, proxied::http2, "a request over HTTP/2, its token known"),
    count("verify-hs512", 500, pure::verify_hs512, "a token's signature and claims, HS512"),
    count("verify-es256", 50, pure::verify_es256, "the same, ES256"),
    count("verify-eddsa", 50, pure::verify_eddsa, "the same, EdDSA"),
    count("mint-hs512", 500, pure::mint_hs512, "a token minted, HS512"),
    count("mint-es256", 50, pure::mint_es256, "the same, ES256"),
    count("mint-eddsa", 50, pure::mint_eddsa, "the same, EdDSA"),
    count("judge", 1000, pure::judge, "a request judged, its token known, no rules"),
    count("judge-500-rules", 1000, pure::judge_500_rules, "the same, with 500 rules"),
    count("path-500-rules", 1000, pure::path_500_rules, "eight paths: ambiguous? by which of 500 rules?"),
    count("headers", 1000, pure::headers, "14 headers made into the application's"),
    count("throttle-granted", 1000, pure::throttle_granted, "a login attempt decided and granted"),
    count("throttle-denied", 1000, pure::throttle_denied, "the same, denied"),
    count("users", 2, pure::users, "the users' document, 1,000 users"),
    count("users-htpasswd", 2, pure::users_htpasswd, "the same as htpasswd"),
    count("keys", 50, pure::keys, "the key ring's document, one key of each algorithm"),
    count("rotation", 1000, pure::rotation, "what is to be done with that ring"),
    count("metrics", 1000, pure::metrics, "a request recorded"),
    count("log", 1000, pure::log, "a request's line in the access log, JSON"),
];

const fn count(name: &'static str, times: u64, run: fn(u64), what: &'static str) -> Count {
    Count { name, times, run, what }
}

/// Without arguments it lists what there is: name, times and description, parted by tabs.
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        for count in &COUNTS {
            println!("{}\t{}\t{}", count.name, count.times, count.what);
        }
        return ExitCode::SUCCESS;
    };
    let Some(count) = COUNTS.iter().find(|count| count.name == name) else {
        eprintln!("counted: nothing is called {name:?}");
        return ExitCode::from(64);
    };
    (count.run)(count.times);
    ExitCode::SUCCESS
}
