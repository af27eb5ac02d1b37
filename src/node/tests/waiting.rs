//! Who waits for a message, and when that ends.

use super::*;

#[tokio::test]
async fn a_dequeue_waits_for_a_message_but_never_longer_than_its_client() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let (waiting, enqueued) = tokio::join!(execute(&node, vec![dequeue("q", PATIENCE)]), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        execute(&node, vec![enqueue("q", "come")]).await
    });
    enqueued.unwrap();
    assert_eq!(text(&waiting.unwrap()), Some("come"));

    let mut impatient =
        tonic::Request::new(v1::ExecuteRequest { operations: vec![dequeue("q", PATIENCE)], ..Default::default() });
    impatient.set_timeout(Duration::from_secs(1));
    let empty = quorate(&node).await.execute(impatient).await.expect("an answer before the client's deadline");
    assert_eq!(text(empty.get_ref()), None);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_takes_nothing_with_it() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let waiting = execute(&node, vec![dequeue("q", PATIENCE)]);
    assert!(tokio::time::timeout(Duration::from_millis(300), waiting).await.is_err(), "it waits");
    // The connection was dropped with the call.
    check_that_nobody_waits(&node).await;
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_that_stops_does_not_wait_for_those_who_wait() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let address = node.client_address;
    let waiting = tokio::spawn(async move {
        let mut client = QuorateClient::connect(format!("http://{address}")).await.unwrap();
        let operations = vec![dequeue("q", PATIENCE)];
        client.execute(v1::ExecuteRequest { operations, ..Default::default() }).await
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = tokio::time::Instant::now();
    node.stop().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "the drain took {:?}", began.elapsed());
    let ended = waiting.await.unwrap().unwrap_err();
    assert_eq!((ended.code(), reason(&ended)), (Code::Aborted, reasons::OUTCOME_UNKNOWN.to_owned()));
}

#[tokio::test]
async fn too_many_requests_are_refused_at_once() {
    let directory = TempDir::new().unwrap();
    let mut config = config("a", directory.path(), &[]);
    config.limits.requests_in_flight_max = 1;
    let node = start_node(config).await;
    eventually("the only node to lead", async || execute(&node, vec![list()]).await.ok()).await;
    let mut first = quorate(&node).await;
    let operations = vec![dequeue("q", PATIENCE)];
    let waiting = first.execute(v1::ExecuteRequest { operations, ..Default::default() });
    let refused = async { eventually("a refusal", async || execute(&node, vec![list()]).await.err()).await };
    tokio::select! {
        ended = waiting => panic!("it should wait: {ended:?}"),
        refused = refused => {
            assert_eq!((refused.code(), reason(&refused)), (Code::ResourceExhausted, reasons::OVERLOADED.to_owned()));
            assert!(refused.get_details_retry_info().is_some(), "waiting helps, and the refusal says so");
        }
    }
    node.stop().await.unwrap();
}
