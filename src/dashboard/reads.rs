//! Places for reads and for their answers that wait to be taken: so many at a time, of which those who come from one address have half
//! at most. Whoever takes all that one can have keeps nobody else out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places that there are. Clones share them.
#[derive(Clone)]
pub(super) struct Reads {
    free: Arc<Semaphore>,
    /// How many each address has that has any: no more addresses than places.
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    /// How many those from one address may have.
    pub(super) most_of_one: usize,
}

/// A place that is taken until this is dropped.
pub(super) struct Place {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    by: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Reads {
    pub(super) fn new(most: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), taken: Arc::default(), most_of_one: most.div_ceil(2) }
    }

    /// A place for somebody from this address; none: there is none, or that address has as many as one may have.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let permit = self.free.clone().try_acquire_owned().ok()?;
        let by = network(address);
        // It is whole after every step.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(by).or_insert(0);
        if *count >= self.most_of_one {
            return None;
        }
        *count += 1;
        Some(Place { taken: self.taken.clone(), by, _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.by) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.by);
            }
        }
    }
}

/// What counts as one address: of IPv6, a network of 64 bits, of which a machine may have all.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(reads: &Reads, address: &str) -> Option<Place> {
        reads.take(address.parse().expect("it is an address"))
    }

    #[test]
    fn whoever_takes_all_that_one_can_have_leaves_the_others_half() {
        let reads = Reads::new(4);
        let mut greedy = vec![take(&reads, "10.0.0.1").expect("all are free")];
        greedy.extend(take(&reads, "::ffff:10.0.0.1"));
        assert_eq!(greedy.len(), 2);
        assert!(take(&reads, "10.0.0.1").is_none(), "it has half");
        let others = [take(&reads, "2001:db8::1"), take(&reads, "2001:db8::2")];
        assert!(others.iter().all(Option::is_some));
        assert!(take(&reads, "10.0.0.2").is_none(), "there are no more");
        drop(others);
        let others = [take(&reads, "2001:db8::3"), take(&reads, "2001:db8::4")];
        assert!(others.iter().all(Option::is_some));
        greedy.clear();
        assert!(take(&reads, "2001:db8::5").is_none(), "it is of a network that has half");
        assert!(take(&reads, "10.0.0.1").is_some());
        drop(others);
        assert!(reads.taken.lock().unwrap().is_empty(), "nothing is kept of those who have gone");
    }
}
