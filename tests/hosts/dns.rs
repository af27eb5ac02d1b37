//! The DNS of all hosts: names and addresses that change while it runs.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};

/// The domain of a Kubernetes cluster, which resolvers add to names by themselves.
const DOMAIN: &str = "cluster.local";

/// Seconds for which an answer may be kept. None of those who ask here does.
const TIME_TO_LIVE: u32 = 1;

/// Answers at port 53 until the process ends. Names that are not there do not exist.
#[derive(Clone)]
pub struct Dns {
    records: Arc<Mutex<Records>>,
}

/// By the whole name, in lower case.
type Records = BTreeMap<String, Vec<Ipv4Addr>>;

impl Dns {
    pub fn start(listen: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((listen, 53)).unwrap();
        let dns = Self { records: Arc::default() };
        let records = Arc::clone(&dns.records);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                if let Some(answer) = answer(&buffer[..length], &records.lock().unwrap()) {
                    // Whoever asked may be gone.
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        dns
    }

    /// From now on these names exist and no others, each given without the cluster's domain.
    pub fn publish(&self, names: impl IntoIterator<Item = (String, Vec<Ipv4Addr>)>) {
        let whole = |(name, addresses)| (format!("{name}.{DOMAIN}"), addresses);
        *self.records.lock().unwrap() = names.into_iter().map(whole).collect();
    }
}

fn answer(question: &[u8], records: &Records) -> Option<Vec<u8>> {
    let asked = Message::from_vec(question).ok()?;
    let query = asked.queries.first()?.clone();
    let mut answer = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_desired = asked.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    let name = query.name.to_ascii().trim_end_matches('.').to_lowercase();
    match records.get(&name) {
        None => answer.metadata.response_code = ResponseCode::NXDomain,
        // There are no IPv6 addresses, but the name exists.
        Some(addresses) if query.query_type == RecordType::A => {
            for address in addresses {
                let record = Record::from_rdata(query.name.clone(), TIME_TO_LIVE, RData::A(A(*address)));
                answer.add_answer(record);
            }
        }
        Some(_) => {}
    }
    answer.add_query(query);
    answer.to_vec().ok()
}

#[test]
fn a_name_exists_with_its_addresses_or_not_at_all() {
    use hickory_proto::op::Query;
    use hickory_proto::rr::Name;

    let records = Records::from([("a.svc.cluster.local".to_owned(), vec![Ipv4Addr::new(10, 77, 0, 2)])]);
    let ask = |name: &str, record_type| {
        let mut question = Message::new(7, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
        let answer = Message::from_vec(&answer(&question.to_vec().unwrap(), &records).unwrap()).unwrap();
        assert_eq!(answer.metadata.id, 7);
        (answer.metadata.response_code, answer.answers.len())
    };
    assert_eq!(ask("A.svc.cluster.local.", RecordType::A), (ResponseCode::NoError, 1));
    assert_eq!(ask("a.svc.cluster.local.", RecordType::AAAA), (ResponseCode::NoError, 0));
    assert_eq!(ask("a.svc.", RecordType::A), (ResponseCode::NXDomain, 0));
}
