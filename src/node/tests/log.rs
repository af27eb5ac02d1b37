//! The log of a node, as it is shown to clients.

use super::*;

/// The log of a node that does not lead, as it has it and as far as it is committed.
#[tokio::test]
async fn every_node_shows_its_log_when_it_is_asked_to() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let b = start_node(config("b", directory.path(), &[&a])).await;
    execute(&a, vec![enqueue("q", "one")]).await.unwrap();
    let log = async |node: &Running, consistency: v1::Consistency| {
        let request = v1::RequestLogRequest { consistency: consistency.into(), ..Default::default() };
        let mut pages = quorate(node).await.request_log(request).await?.into_inner();
        let page = pages.message().await?.expect("there is at least one page");
        Ok::<_, Status>((page.entries, page.age))
    };
    let (leaders, age) = log(&a, v1::Consistency::Leader).await.unwrap();
    assert!(leaders.iter().all(|entry| entry.committed) && age.is_none());
    assert_eq!(reason(&log(&b, v1::Consistency::Leader).await.unwrap_err()), reasons::NOT_LEADER);
    let any = eventually("b to find the leader", async || log(&b, v1::Consistency::AnyNode).await.ok()).await.0;
    assert!(any.len() >= leaders.len() && any[..leaders.len()] == leaders[..], "{any:#?}");
    let stale = async || log(&b, v1::Consistency::Stale).await.ok().filter(|(_, age)| age.is_some());
    let (stale, _) = eventually("b to know how old its log is", stale).await;
    assert!(stale.len() >= any.len() && stale.iter().map(|entry| entry.index).eq(1..=stale.len() as u64));
    a.stop().await.unwrap();
    b.stop().await.unwrap();
}

#[tokio::test]
async fn the_log_is_shown_page_by_page() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    for _ in 0..3 {
        execute(&node, vec![enqueue("q", &"x".repeat(700_000))]).await.unwrap();
    }
    let pages = |from_index, limit| {
        let node = &node;
        async move {
            let request = v1::RequestLogRequest { from_index, limit, ..Default::default() };
            let mut stream = quorate(node).await.request_log(request).await.unwrap().into_inner();
            let mut pages = Vec::new();
            while let Some(page) = stream.message().await.unwrap() {
                pages.push(page.entries);
            }
            pages
        }
    };
    let all = pages(0, 0).await;
    assert!(all.len() > 1, "2 MB do not fit on one page");
    let all = all.concat();
    let indexes: Vec<u64> = all.iter().map(|entry| entry.index).collect();
    assert_eq!(indexes, (1..=all.len() as u64).collect::<Vec<_>>());
    assert!(all.iter().all(|entry| entry.committed && entry.content.is_some()));
    assert!(matches!(all[0].content, Some(v1::log_entry::Content::Configuration(_))));
    assert!(matches!(all[1].content, Some(v1::log_entry::Content::Noop(_))));

    let some: Vec<u64> = pages(2, 2).await.concat().iter().map(|entry| entry.index).collect();
    assert_eq!(some, [2, 3]);
    assert_eq!(pages(1_000_000, 0).await, [Vec::new()], "past the end there is one empty page");
    node.stop().await.unwrap();
}

/// Who follows the log gets every entry once and committed, hears something while there is none, and is told of the end.
#[tokio::test]
async fn the_log_is_followed() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let follow = async |limit| {
        let request = v1::RequestLogRequest { from_index: 2, limit, follow: true, ..Default::default() };
        quorate(&node).await.request_log(request).await.unwrap().into_inner()
    };
    let mut stream = follow(0).await;
    let mut limited = follow(3).await;
    let mut seen = Vec::new();
    let mut idle = 0;
    while idle < 2 {
        let page =
            tokio::time::timeout(PATIENCE, stream.message()).await.expect("never silent for long").unwrap().unwrap();
        idle += u32::from(page.entries.is_empty());
        seen.extend(page.entries);
    }
    for text in ["one", "two", "three"] {
        let index = execute(&node, vec![enqueue("q", text)]).await.unwrap().header.unwrap().index;
        while seen.last().is_none_or(|last| last.index < index) {
            let page = tokio::time::timeout(PATIENCE, stream.message()).await.expect("the entry").unwrap().unwrap();
            seen.extend(page.entries);
        }
    }
    let indexes: Vec<u64> = seen.iter().map(|entry| entry.index).collect();
    assert_eq!(indexes, (2..2 + seen.len() as u64).collect::<Vec<_>>());
    assert!(seen.iter().all(|entry| entry.committed));

    let mut some = Vec::new();
    while let Some(page) = limited.message().await.unwrap() {
        some.extend(page.entries.iter().map(|entry| entry.index));
    }
    assert_eq!(some, [2, 3, 4]);

    let end = async {
        loop {
            if let Err(end) = stream.message().await {
                return end;
            }
        }
    };
    let (end, stopped) = tokio::join!(tokio::time::timeout(PATIENCE, end), node.stop());
    assert_eq!(reason(&end.expect("a node that stops ends the stream")), reasons::SHUTTING_DOWN);
    stopped.unwrap();
}

#[tokio::test]
async fn as_many_may_read_the_log_at_a_time_as_the_node_bears() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let mut client = quorate(&node).await;
    // More than a connection takes in without being read.
    for _ in 0..8 {
        execute(&node, vec![enqueue("q", &"x".repeat(1 << 20))]).await.unwrap();
    }
    let mut slow = Vec::new();
    let refused = loop {
        match client.request_log(v1::RequestLogRequest::default()).await {
            Ok(pages) => slow.push(pages.into_inner()),
            Err(refused) => break refused,
        }
        assert!(slow.len() < 100, "a hundred clients that do not read are all served");
    };
    assert_eq!((refused.code(), reason(&refused)), (Code::ResourceExhausted, reasons::OVERLOADED.to_owned()));
    assert!(refused.get_details_retry_info().is_some(), "waiting helps, and the refusal says so");

    // One that has gone makes room for another, on a connection that is not full of what nobody reads.
    drop(slow.pop());
    let mut client = quorate(&node).await;
    let served = eventually("room", async || client.request_log(v1::RequestLogRequest::default()).await.ok()).await;
    assert!(served.into_inner().message().await.unwrap().is_some());
    node.stop().await.unwrap();
}
