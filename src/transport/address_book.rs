//! Where every node can be reached, as far as this node knows.
//!
//! Each node numbers the versions of its own contact; whoever hears of a higher one keeps it, writes it down and tells it
//! on. So the books of all nodes end up equal, in whatever order the news arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::ids::{Contact, NODE_NAME_BYTES_MAX, NodeId, is_node_name};

/// The most contacts in a book. When it is full a member of the cluster pushes out a node that is none, and a node that is
/// none is not taken in.
pub const CONTACTS_MAX: usize = 1000;

/// The highest version that is believed, so that adding one cannot overflow.
const VERSION_MAX: u64 = 1 << 62;

/// All contacts of a book at one time.
pub type Contacts = BTreeMap<NodeId, Contact>;

/// Writes a whole book down, so that it is still there after a crash.
pub trait Store: Send + 'static {
    /// Replaces what was written down before. Durable on return.
    ///
    /// # Errors
    /// The disk did not take it; what was written down before is still there.
    fn save(&mut self, contacts: &[Contact]) -> io::Result<()>;
}

impl<F: FnMut(&[Contact]) -> io::Result<()> + Send + 'static> Store for F {
    fn save(&mut self, contacts: &[Contact]) -> io::Result<()> {
        self(contacts)
    }
}

/// A handle of the one address book of this node. Clones share the book.
#[derive(Clone)]
pub struct AddressBook(Arc<Book>);

struct Book {
    own: NodeId,
    /// Held while the book changes, and so while the disk writes: one writer at a time, and nobody reads what is not yet
    /// written down.
    store: Mutex<Box<dyn Store>>,
    /// Apart from the store: whoever says who the members are does not wait for a disk.
    members: Mutex<BTreeSet<NodeId>>,
    contacts: watch::Sender<Arc<Contacts>>,
}

/// Why a contact is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidContact {
    /// 0 is no node.
    #[error("node 0 is no node")]
    Node,
    /// Not a name as [`is_node_name`] has it.
    #[error("{0:?} is no name of a node: 1 to {NODE_NAME_BYTES_MAX} letters, digits, '.', '_' or '-'")]
    Name(String),
    /// Not `HOST:PORT`.
    #[error("{0:?} is no address: HOST:PORT is needed, with a port from 1 to 65535")]
    Address(String),
    /// Versions start at 1.
    #[error("{0} is no version of a contact")]
    Version(u64),
}

impl AddressBook {
    /// The book of node `own`, with what was written down before. Contacts that are not valid are left out.
    pub fn new(own: NodeId, contacts: Vec<Contact>, store: impl Store) -> Self {
        let valid = contacts.into_iter().filter(|contact| validate(contact).is_ok()).take(CONTACTS_MAX);
        let contacts = Arc::new(valid.map(|contact| (contact.node, contact)).collect());
        let store: Box<dyn Store> = Box::new(store);
        let contacts = watch::Sender::new(contacts);
        Self(Arc::new(Book { own, store: Mutex::new(store), members: Mutex::default(), contacts }))
    }

    /// Sets this node's own contact, under a higher version if anything in it differs. Returns it as the others hear it.
    ///
    /// # Errors
    /// The contact is not valid, or could not be written down. A version that a crash could make us use twice must not be
    /// told, so that nothing changes then.
    pub fn announce(&self, name: &str, client_address: &str, peer_address: &str) -> Result<Contact, super::Error> {
        let mut store = self.store();
        let mut contacts = self.contacts().as_ref().clone();
        let mut contact = Contact {
            node: self.0.own,
            name: name.to_owned(),
            client_address: client_address.to_owned(),
            peer_address: peer_address.to_owned(),
            version: 1,
        };
        if let Some(known) = contacts.get(&self.0.own) {
            contact.version = known.version;
            if *known == contact {
                return Ok(contact);
            }
            contact.version = following(contact.version);
        }
        validate(&contact)?;
        contacts.insert(contact.node, contact.clone());
        self.publish(store.as_mut(), contacts)?;
        Ok(contact)
    }

    /// Keeps of each node's contacts the one with the highest version. Blocks for a write to the disk if that changes the
    /// book. Contacts that are not valid are left out. Returns whether the book changed.
    ///
    /// # Errors
    /// The changed book could not be written down: it stays as it was.
    pub fn merge(&self, told: impl IntoIterator<Item = Contact>) -> Result<bool, super::Error> {
        let mut store = self.store();
        let members = self.members().clone();
        let mut contacts = self.contacts().as_ref().clone();
        let mut changed = false;
        for contact in told {
            changed |= self.is_news(&contacts, &contact) && self.admit(&members, &mut contacts, contact);
        }
        if changed {
            self.publish(store.as_mut(), contacts)?;
        }
        Ok(changed)
    }

    /// Like `merge`, away from the threads that must not wait for a disk.
    ///
    /// # Errors
    /// As for `merge`.
    pub async fn merge_in_background(&self, told: Vec<Contact>) -> Result<bool, super::Error> {
        let known = self.contacts();
        if !told.iter().any(|contact| self.is_news(&known, contact)) {
            return Ok(false);
        }
        let book = self.clone();
        let merged = tokio::task::spawn_blocking(move || book.merge(told)).await;
        // The task ends early only when the runtime does.
        merged.unwrap_or(Ok(false))
    }

    /// Says who the members of the cluster are: there is always room for them. Never waits for a disk.
    pub fn set_members(&self, members: BTreeSet<NodeId>) {
        *self.members() = members;
    }

    /// Where a node can be reached.
    pub fn get(&self, node: NodeId) -> Option<Contact> {
        self.0.contacts.borrow().get(&node).cloned()
    }

    /// Where this node can be reached; none: it has not announced that yet.
    pub fn own(&self) -> Option<Contact> {
        self.get(self.0.own)
    }

    /// What people call a node: its id, as long as its name is not known.
    pub fn name_of(&self, node: NodeId) -> String {
        self.get(node).map_or_else(|| node.to_string(), |contact| contact.name)
    }

    /// The nodes with this name: several, when one came back with a new disk.
    pub fn by_name(&self, name: &str) -> Vec<Contact> {
        self.0.contacts.borrow().values().filter(|contact| contact.name == name).cloned().collect()
    }

    /// All contacts, in the order of the node ids.
    pub fn all(&self) -> Vec<Contact> {
        self.0.contacts.borrow().values().cloned().collect()
    }

    /// The contacts now, and a notice of each change.
    pub fn watch(&self) -> watch::Receiver<Arc<Contacts>> {
        self.0.contacts.subscribe()
    }

    fn contacts(&self) -> Arc<Contacts> {
        self.0.contacts.borrow().clone()
    }

    /// A writer that panicked left the book as it was: the lock stays good.
    fn store(&self) -> MutexGuard<'_, Box<dyn Store>> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A set that is replaced as a whole: good whatever happened to who had the lock.
    fn members(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_news(&self, contacts: &Contacts, contact: &Contact) -> bool {
        let newer = match contacts.get(&contact.node) {
            // Somebody knows a later contact of this node than the node itself: it takes the number after that one.
            Some(known) if contact.node == self.0.own => contact.version >= known.version && contact != known,
            Some(known) => contact.version > known.version,
            None => true,
        };
        newer && validate(contact).is_ok()
    }

    fn admit(&self, members: &BTreeSet<NodeId>, contacts: &mut Contacts, contact: Contact) -> bool {
        if let Some(known) = contacts.get(&contact.node) {
            let own = contact.node == self.0.own;
            let contact = if own { Contact { version: following(contact.version), ..known.clone() } } else { contact };
            contacts.insert(contact.node, contact);
            return true;
        }
        if contacts.len() >= CONTACTS_MAX && !self.make_room(members, contacts, contact.node) {
            return false;
        }
        contacts.insert(contact.node, contact);
        true
    }

    fn make_room(&self, members: &BTreeSet<NodeId>, contacts: &mut Contacts, newcomer: NodeId) -> bool {
        let stranger = contacts.keys().find(|node| !members.contains(node) && **node != self.0.own).copied();
        match stranger {
            Some(stranger) if members.contains(&newcomer) => contacts.remove(&stranger).is_some(),
            _ => false,
        }
    }

    /// Written down first: what is told must not be forgotten by a crash.
    fn publish(&self, store: &mut dyn Store, contacts: Contacts) -> Result<(), super::Error> {
        let list: Vec<Contact> = contacts.values().cloned().collect();
        store.save(&list).map_err(super::Error::SaveAddresses)?;
        self.0.contacts.send_replace(Arc::new(contacts));
        Ok(())
    }
}

/// The version after this one; the highest is its own, so that a contact never becomes one that nobody believes.
fn following(version: u64) -> u64 {
    (version + 1).min(VERSION_MAX)
}

/// Checks what can be checked of a contact without dialing.
///
/// # Errors
/// The first thing that is wrong.
pub fn validate(contact: &Contact) -> Result<(), InvalidContact> {
    if contact.node.0 == 0 {
        return Err(InvalidContact::Node);
    }
    if !is_node_name(&contact.name) {
        return Err(InvalidContact::Name(shortened(&contact.name)));
    }
    for address in [&contact.client_address, &contact.peer_address] {
        if !is_address(address) {
            return Err(InvalidContact::Address(shortened(address)));
        }
    }
    if !(1..=VERSION_MAX).contains(&contact.version) {
        return Err(InvalidContact::Version(contact.version));
    }
    Ok(())
}

/// True for `HOST:PORT` with a name, an IPv4 address or a bracketed IPv6 address.
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    is_host(host) && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=253).contains(&host.len()) && host.bytes().all(allowed)
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const OWN: NodeId = NodeId(1);

    fn contact(node: u64, version: u64) -> Contact {
        Contact {
            node: NodeId(node),
            name: format!("node-{node}"),
            client_address: format!("10.0.0.{version}:7400"),
            peer_address: format!("10.0.0.{version}:7401"),
            version,
        }
    }

    /// A book, and what it wrote down last.
    fn book() -> (AddressBook, Arc<Mutex<Vec<Contact>>>) {
        let saved = Arc::new(Mutex::new(Vec::new()));
        let disk = saved.clone();
        let store = move |contacts: &[Contact]| {
            *disk.lock().expect("no test panics with the lock") = contacts.to_vec();
            Ok(())
        };
        (AddressBook::new(OWN, Vec::new(), store), saved)
    }

    #[test]
    fn the_highest_version_stays_and_is_written_down() {
        let (book, saved) = book();
        assert!(book.merge([contact(2, 3), contact(3, 1)]).expect("saved"));
        assert!(!book.merge([contact(2, 2), contact(2, 3)]).expect("saved"), "nothing is news");
        assert_eq!(book.get(NodeId(2)), Some(contact(2, 3)));
        assert_eq!(*saved.lock().expect("no panic"), [contact(2, 3), contact(3, 1)]);
        assert_eq!(book.by_name("node-3"), [contact(3, 1)]);
        assert_eq!(AddressBook::new(OWN, book.all(), |_: &[Contact]| Ok(())).all(), book.all());
    }

    #[test]
    fn watchers_hear_of_changes_only() {
        let (book, _) = book();
        let mut watcher = book.watch();
        book.merge([contact(2, 1)]).expect("saved");
        assert!(watcher.has_changed().expect("the book lives"));
        assert_eq!(watcher.borrow_and_update().len(), 1);
        book.merge([contact(2, 1)]).expect("saved");
        assert!(!watcher.has_changed().expect("the book lives"));
    }

    #[test]
    fn a_changed_own_address_gets_the_next_version() {
        let (book, _) = book();
        let announce = |port: u16| book.announce("a", "a:7400", &format!("a:{port}")).expect("saved").version;
        assert_eq!([announce(7401), announce(7401), announce(7501)], [1, 1, 2]);
    }

    #[test]
    fn nobody_else_decides_where_this_node_is() {
        let (book, _) = book();
        let own = book.announce("a", "a:7400", "a:7401").expect("saved");
        assert!(book.merge([contact(1, 7)]).expect("saved"));
        assert_eq!(book.get(OWN), Some(Contact { version: 8, ..own }));
    }

    #[test]
    fn what_is_not_written_down_is_not_told() {
        let book = AddressBook::new(OWN, Vec::new(), |_: &[Contact]| Err(io::Error::other("disk is gone")));
        assert!(book.merge([contact(2, 1)]).is_err());
        assert!(book.announce("a", "a:7400", "a:7401").is_err());
        assert_eq!(book.all(), []);
    }

    #[test]
    fn a_full_book_has_room_for_members_only() {
        let (book, _) = book();
        book.merge((2..2000).map(|node| contact(node, 1))).expect("saved");
        assert_eq!(book.all().len(), CONTACTS_MAX);
        assert!(!book.merge([contact(5000, 1)]).expect("saved"), "a stranger finds no room");
        book.set_members([NodeId(5000), NodeId(2)].into());
        assert!(book.merge([contact(5000, 1)]).expect("saved"), "a member does");
        assert_eq!(book.all().len(), CONTACTS_MAX);
        assert_eq!((book.get(NodeId(2)), book.get(NodeId(3))), (Some(contact(2, 1)), None));
    }

    /// The event loop says who the members are: it must not stand still while a slow disk takes a changed book.
    #[test]
    fn naming_the_members_does_not_wait_for_the_disk() {
        let (saving, is_saving) = mpsc::channel();
        let (finish, may_finish) = mpsc::channel::<()>();
        let book = AddressBook::new(OWN, Vec::new(), move |_: &[Contact]| {
            saving.send(()).map_err(io::Error::other)?;
            may_finish.recv().map_err(io::Error::other)
        });
        std::thread::scope(|scope| {
            let merging = scope.spawn(|| book.merge([contact(2, 1)]).expect("saved"));
            is_saving.recv().expect("the store is asked to save");
            let (done, is_done) = mpsc::channel();
            let members = book.clone();
            scope.spawn(move || {
                members.set_members([NodeId(2)].into());
                done.send(())
            });
            let named = is_done.recv_timeout(Duration::from_secs(10));
            finish.send(()).expect("the store waits");
            assert!(merging.join().expect("merging does not panic"));
            assert_eq!(named, Ok(()), "the members were named while the disk was writing");
        });
    }

    #[test]
    fn only_valid_contacts_get_in() {
        let with = |change: fn(&mut Contact)| {
            let mut contact = contact(2, 1);
            change(&mut contact);
            contact
        };
        let bad = [
            with(|contact| contact.node = NodeId(0)),
            with(|contact| contact.name.clear()),
            with(|contact| contact.name = "a b".into()),
            with(|contact| contact.name = "n".repeat(NODE_NAME_BYTES_MAX + 1)),
            with(|contact| contact.client_address = "7400".into()),
            with(|contact| contact.version = 0),
            with(|contact| contact.version = u64::MAX),
        ];
        for contact in bad {
            assert!(validate(&contact).is_err(), "{contact:?}");
            assert!(!book().0.merge([contact]).expect("nothing to save"));
        }
    }

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["a:1", "10.0.0.1:65535", "[::1]:7401", "quorate-0.quorate.default.svc:7401", "my_host:80"] {
            assert!(is_address(good), "{good}");
            assert!(tonic::transport::Endpoint::from_shared(format!("http://{good}")).is_ok(), "{good} can be dialed");
        }
        for bad in
            ["", ":1", "a", "a:", "a:0", "a:65536", "a:+1", "::1:7401", "[::1:7401", "a b:1", "http://a:1", "a/b:1"]
        {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
