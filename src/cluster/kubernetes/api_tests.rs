//! The API server as it is and as it should not be: a test double over real HTTP.

use std::time::{Duration, Instant};

use kube::config::Config;
use tokio::sync::watch;

use super::api::{Api, Seen, Trouble};
use super::api_server::{ALL, ApiServer, Call, Fault};
use super::desired::{Desired, StatefulSetName};
use super::veto::veto;

/// The certificate of an authority that nobody has the key of any more.
const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUaTUSZmrqixgG6DHezU+PU1XfTSowCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjYwMTE2MjJaGA8yMTI2MTEwMjAxMTYy
MlowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLd5
WaXQp+YpADc8Xx8179Lova+DGZwn8uvErSzSddbNubZ4kY4YFJeshMODAw53hnOF
TtBHWyQTNPANQ0x9bMajUzBRMB0GA1UdDgQWBBQFyiGomU4WotX3HM+Fr70CCHcr
MjAfBgNVHSMEGDAWgBQFyiGomU4WotX3HM+Fr70CCHcrMjAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIFW6GcheFPpJayBDdPMSBcuQeYji/iAdkz+G
KXOaK7JHAiEA0n5uZ+ZM1BIGLANLiVLfrYL88pZIGyikJoJcrbVgPmI=
-----END CERTIFICATE-----
";

const PATIENCE: Duration = Duration::from_millis(600);

fn api(server: &ApiServer) -> Api {
    let mut config = Config::new(server.url().parse().unwrap());
    config.default_namespace = "place".to_owned();
    Api::new("quorate", None, "quorate-1").at(config)
}

fn serving(replicas: i32) -> (ApiServer, Api) {
    let server = ApiServer::start();
    server.put_set("place", "quorate", replicas);
    server.put_set("place", "other", 9);
    server.put_set("elsewhere", "quorate", 9);
    let api = api(&server);
    (server, api)
}

/// Waits until what was seen is so.
async fn eventually(what: &str, seen: &mut watch::Receiver<Seen>, is_so: impl Fn(&Seen) -> bool) -> Seen {
    let waited = tokio::time::timeout(Duration::from_secs(40), seen.wait_for(|seen| is_so(seen)));
    let found = waited.await.map(|found| found.expect("it follows for ever").clone());
    found.unwrap_or_else(|_| panic!("waited in vain for: {what}; seen is {:?}", seen.borrow()))
}

fn is(replicas: u64) -> impl Fn(&Seen) -> bool {
    move |seen| seen.desired == Some(Desired::Pods(0..replicas)) && seen.trouble.is_none()
}

#[tokio::test]
async fn what_is_asked_for_is_that_of_the_set_in_its_namespace() {
    let (server, api) = serving(3);
    assert_eq!(api.desired(PATIENCE).await, Ok(Desired::Pods(0..3)));
    server.put_set("place", "quorate", 0);
    assert_eq!(api.desired(PATIENCE).await, Ok(Desired::Nothing));
    server.begin_deletion("place", "quorate");
    assert_eq!(api.desired(PATIENCE).await, Ok(Desired::Deleted));
    server.delete_set("place", "quorate");
    assert_eq!(api.desired(PATIENCE).await, Ok(Desired::Deleted));
}

/// It can keep a cluster from being started, and never lets one start: no answer is no reason for anything.
#[tokio::test]
async fn too_many_replicas_forbid_to_start_a_cluster() {
    let (server, api) = serving(3);
    let set = StatefulSetName("quorate".to_owned());
    assert_eq!(veto(&api, &set, 2).await, None);
    assert_eq!(
        veto(&api, &set, 1).await.unwrap(),
        "starts no cluster, as StatefulSet quorate asks for 3 replicas and bootstrap.size is 1: with more than twice as many, lost disks \
         could be taken for a first start; set bootstrap.size to 2 at least, on all nodes"
    );
    ALL.into_iter().for_each(|call| server.fail(call, Fault::Status(403)));
    assert_eq!(veto(&api, &set, 1).await, None);
    server.heal();
    server.put_set("place", "quorate", 2);
    assert_eq!(veto(&api, &set, 1).await, None);
    server.delete_set("place", "quorate");
    assert_eq!(veto(&api, &set, 1).await, None);
}

/// Each fault is a trouble with its own words, in one line; and when it is over the answer is there again.
#[tokio::test]
async fn every_fault_is_told_in_one_line_and_passes() {
    let (server, api) = serving(3);
    let faults = [
        (Fault::Status(401), "(401): told to answer 401"),
        (Fault::Status(403), "has not the right (403)"),
        (Fault::Status(409), "(409)"),
        (Fault::Status(410), "(410)"),
        (Fault::Status(500), "(500)"),
        (Fault::RetryAfter(1), "too busy (429)"),
        (Fault::Silence, "has not answered within"),
        (Fault::Slow(PATIENCE * 2), "has not answered within"),
        (Fault::Garbage, "makes no sense"),
        (Fault::WrongTypes, "makes no sense"),
        (Fault::Cut, "cannot be reached"),
    ];
    for (fault, words) in faults {
        server.fail(Call::Get, fault.clone());
        let began = Instant::now();
        let trouble = api.desired(PATIENCE).await.expect_err(words).to_string();
        assert!(trouble.contains(words), "{fault:?}: {trouble}");
        assert!(!trouble.contains('\n'), "{fault:?}: {trouble}");
        assert!(began.elapsed() < PATIENCE * 3, "{fault:?} took {:?}", began.elapsed());
        server.heal();
        assert_eq!(api.desired(PATIENCE).await, Ok(Desired::Pods(0..3)), "after {fault:?}");
    }
    server.fail(Call::Get, Fault::Status(404));
    assert_eq!(api.desired(PATIENCE).await, Ok(Desired::Deleted));
}

/// What may pass in a moment is waited for.
#[tokio::test]
async fn a_short_trouble_is_outlasted() {
    let (server, api) = serving(3);
    for fault in [Fault::RetryAfter(1), Fault::Status(503), Fault::Cut] {
        server.fail(Call::Get, fault.clone());
        let before = server.requests().len();
        let (desired, ()) = tokio::join!(api.desired(Duration::from_secs(10)), async {
            while server.requests().len() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            server.heal();
        });
        assert_eq!(desired, Ok(Desired::Pods(0..3)), "{fault:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let server = ApiServer::start();
    let api = api(&server);
    drop(server);
    let trouble = api.desired(PATIENCE).await.unwrap_err();
    assert!(matches!(trouble, Trouble::Unreachable(_)), "{trouble}");
}

#[tokio::test]
async fn a_watch_follows_every_change() {
    let (server, api) = serving(3);
    let (seen, mut saw) = watch::channel(Seen::default());
    let follow = async {
        eventually("three", &mut saw, is(3)).await;
        server.put_set("place", "quorate", 5);
        eventually("five", &mut saw, is(5)).await;
        server.put_set("place", "other", 1);
        server.end_watches();
        server.put_set("place", "quorate", 1);
        eventually("one, after the watch was ended", &mut saw, is(1)).await;
        server.forget_history();
        server.put_set("place", "quorate", 4);
        eventually("four, from a list, because the watch is too old", &mut saw, is(4)).await;
        server.delete_set("place", "quorate");
        eventually("its end", &mut saw, |seen| seen.desired == Some(Desired::Deleted)).await;
        server.put_set("place", "quorate", 2);
        eventually("two, of another one", &mut saw, is(2)).await;
    };
    tokio::select! {
        () = follow => {}
        () = api.follow(&seen) => {}
    }
}

/// Whatever goes wrong, what was known stays known, the trouble is told, and the watch goes on when it is over.
#[tokio::test]
async fn a_watch_survives_every_fault() {
    let faults = [
        (Fault::Status(403), "(403)"),
        (Fault::Status(401), "(401)"),
        (Fault::Status(404), "(404)"),
        (Fault::Status(410), "(410)"),
        (Fault::Status(500), "(500)"),
        (Fault::RetryAfter(1), "(429)"),
        (Fault::Garbage, "makes no sense"),
        (Fault::WrongTypes, "makes no sense"),
    ];
    let each = faults.into_iter().map(|(fault, words)| async move {
        let (server, api) = serving(3);
        let (seen, mut saw) = watch::channel(Seen::default());
        let follow = async {
            eventually("three", &mut saw, is(3)).await;
            server.fail(Call::List, fault.clone());
            server.fail(Call::Watch, fault.clone());
            let has_words =
                |seen: &Seen| seen.trouble.as_ref().is_some_and(|trouble| trouble.to_string().contains(words));
            let troubled = eventually(&format!("{fault:?} to be told"), &mut saw, has_words).await;
            assert_eq!(troubled.desired, Some(Desired::Pods(0..3)), "{fault:?}");
            server.put_set("place", "quorate", 4);
            server.heal();
            eventually(&format!("four after {fault:?}"), &mut saw, is(4)).await;
        };
        tokio::select! {
            () = follow => {}
            () = api.follow(&seen) => {}
        }
    });
    futures_util::future::join_all(each).await;
}

/// A watch that breaks, or is told that it is too old, is no more than a reason to begin anew.
#[tokio::test]
async fn a_broken_watch_misses_nothing() {
    for fault in [Fault::Cut, Fault::GoneEvent] {
        let (server, api) = serving(3);
        let (seen, mut saw) = watch::channel(Seen::default());
        let follow = async {
            eventually("three", &mut saw, is(3)).await;
            server.fail(Call::Watch, fault.clone());
            let begun = |server: &ApiServer| server.requests().iter().filter(|it| it.contains("watch=true")).count();
            let before = begun(&server);
            while begun(&server) < before + 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            server.put_set("place", "quorate", 5);
            server.heal();
            eventually(&format!("five after {fault:?}"), &mut saw, is(5)).await;
        };
        tokio::select! {
            () = follow => {}
            () = api.follow(&seen) => {}
        }
    }
}

#[tokio::test]
async fn the_label_is_put_on_and_taken_off() {
    let (server, api) = serving(3);
    let missing = api.label_leader(true).await;
    assert!(matches!(missing, Err(Trouble::NotFound(_))), "{missing:?}");
    server.put_pod("place", "quorate-1");
    let role = || server.label("place", "quorate-1", "quorate.dev/role");
    api.label_leader(true).await.unwrap();
    assert_eq!(role().as_deref(), Some("leader"));
    api.label_leader(true).await.expect("putting it on twice is no trouble");
    api.label_leader(false).await.unwrap();
    assert_eq!(role(), None);
    assert_eq!(server.label("place", "quorate-1", "app.kubernetes.io/name").as_deref(), Some("quorate"));
    for (code, is_it) in [(403, true), (409, false)] {
        server.fail(Call::Patch, Fault::Status(code));
        let refused = api.label_leader(true).await;
        assert_eq!(matches!(refused, Err(Trouble::Forbidden(_))), is_it, "{refused:?}");
        assert!(refused.is_err());
    }
}

/// What Kubernetes gives to pods is an https address and a token: the TLS of this program must be ready for it, without panics.
#[tokio::test]
async fn a_client_speaks_https() {
    let (server, directory) = (ApiServer::start(), tempfile::TempDir::new().unwrap());
    let [authority, token] = ["ca.crt", "token"].map(|name| directory.path().join(name));
    std::fs::write(&authority, AUTHORITY).unwrap();
    std::fs::write(&token, "of the service account").unwrap();
    let mut config = Config::new(format!("https://{}", server.address()).parse().unwrap());
    config.root_cert_file = Some(authority);
    config.auth_info.token_file = Some(token.display().to_string());
    let api = Api::new("quorate", None, "quorate-1").at(config);
    let trouble = api.desired(PATIENCE).await.unwrap_err();
    assert!(matches!(trouble, Trouble::Unreachable(_)), "the double does not speak TLS: {trouble}");
}

/// The double is one for all calls; a fault of each is one of no other.
#[tokio::test]
async fn faults_are_for_one_call() {
    let (server, api) = serving(3);
    server.put_pod("place", "quorate-1");
    for call in ALL.into_iter().filter(|call| *call != Call::Get) {
        server.fail(call, Fault::Silence);
    }
    assert_eq!(api.desired(PATIENCE).await, Ok(Desired::Pods(0..3)));
}
