//! What TCP makes of a bad network: it takes longer.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::bad_network::{BadNetwork, counter};

/// Longer than what is sent here takes on the worst network.
const READ_MAX: Duration = Duration::from_secs(120);

/// Sends so many bytes, and returns those that arrive, and how many packets had a wrong checksum.
fn sent_over(spec: &str, address: &str, bytes: &[u8]) -> (Vec<u8>, u64) {
    let network = BadNetwork::new(spec);
    let arrived = network.within(|| {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let arrived = thread::scope(|scope| {
            // Accepted and written on another thread, which is in the same namespace.
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(bytes).unwrap();
            });
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(READ_MAX)).unwrap();
            let mut arrived = Vec::new();
            stream.read_to_end(&mut arrived).unwrap();
            arrived
        });
        (arrived, counter("Tcp", "InCsumErrors"))
    });
    network.finish();
    arrived
}

/// Bytes of which no two places look alike.
fn bytes(count: u32) -> Vec<u8> {
    (0..count / 4).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).collect()
}

#[test]
#[ignore = "needs root"]
fn a_stream_arrives_whole_over_the_acceptance_network() {
    let sent = bytes(200_000);
    let (arrived, _) = sent_over("", "127.0.0.1", &sent);
    assert!(arrived == sent, "{} bytes of {}", arrived.len(), sent.len());
}

#[test]
#[ignore = "needs root"]
fn a_stream_arrives_whole_although_packets_are_corrupted() {
    for address in ["127.0.0.1", "::1"] {
        let sent = bytes(4_000_000);
        let (arrived, checksum_errors) = sent_over("corrupt 20% duplicate 10% delay 2ms 1ms", address, &sent);
        assert!(arrived == sent, "{} bytes of {}", arrived.len(), sent.len());
        assert!(checksum_errors > 0, "{address}");
    }
}

/// What is under way must not count as unsent, or TCP would wait for it. 20 MB in segments of 64 KiB are 320: two at a time would
/// take 16 s.
#[test]
#[ignore = "needs root"]
fn a_long_way_does_not_keep_tcp_from_sending() {
    let began = std::time::Instant::now();
    let sent = bytes(20_000_000);
    let (arrived, _) = sent_over("delay 100ms", "127.0.0.1", &sent);
    assert!(arrived == sent, "{} bytes of {}", arrived.len(), sent.len());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
