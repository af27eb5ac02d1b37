//! The data directory: whose it is, who is using it, the address book, and what it remembers from before it belonged to a cluster.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use super::disk::{Disk, FileDisk};
use super::error::Error;
use super::founding_record::{FoundingRecord, RecordText};
use super::{manifest, segment, set_aside, whole_file};
use crate::ids::{ClusterId, Contact, NodeId};

/// The layout of the directory that this release makes, and the latest that it reads.
const FORMAT_VERSION: u32 = 1;

const IDENTITY: &str = "identity";
const ADDRESSES: &str = "addresses";
const FOUNDING: &str = "founding";
const LOCK: &str = "lock";
/// A directory of the file system itself, where the data directory is the root of a volume: it belongs to root.
const LOST_AND_FOUND: &str = "lost+found";

/// Whose a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node, for as long as the directory exists.
    pub node: NodeId,
    /// The cluster, once the node has founded or joined one; never changed after that.
    pub cluster: Option<ClusterId>,
}

/// A data directory that this process has locked. The lock ends with the value, or with the process, however that ends.
pub struct DataDirectory {
    path: PathBuf,
    /// Where the small files are: in `path`.
    disk: Arc<dyn Disk>,
    /// Held while one of them is written. A disk can hang, and whoever only reads must not hang with it.
    writing: Mutex<Writing>,
    /// What is durable. Held no longer than it takes to copy it.
    identity: Mutex<Identity>,
    /// As `identity`.
    founding: Mutex<FoundingRecord>,
    /// Holds the lock.
    _lock: fs::File,
}

/// Whether the directory may be written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writing {
    #[default]
    Allowed,
    /// It is being set aside: what is written now would be taken for the next node's.
    Over,
}

impl DataDirectory {
    /// Opens a directory and locks it. One that does not exist, or holds nothing of a node, is made one: it gets a node id,
    /// drawn at random. A directory that is made can be entered by its owner only; the mode of one that exists is left alone.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Damaged`], [`Error::NewerFormat`] (nothing was touched), [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        make(path)?;
        Self::open_on(path, Arc::new(FileDisk::new(path)))
    }

    /// Opens a directory that exists, and whose small files are on `disk`.
    pub(crate) fn open_on(path: &Path, disk: Arc<dyn Disk>) -> Result<Self, Error> {
        // Before anything is touched, the lock file included: is it a directory that this release can read?
        read_identity(&*disk)?;
        let lock = lock(path)?;
        let founding = finish_setting_aside(path, &*disk, &mut || Ok(()))?;
        let identity = match read_identity(&*disk)? {
            Some(identity) => identity,
            None => format(&*disk, &founding)?,
        };
        let (identity, founding) = (Mutex::new(identity), Mutex::new(founding));
        Ok(Self { path: path.to_owned(), disk, writing: Mutex::default(), identity, founding, _lock: lock })
    }

    /// Whose the directory is. Never waits for the disk.
    pub fn identity(&self) -> Identity {
        *locked(&self.identity)
    }

    /// Says durably that the node belongs to this cluster. Saying it again changes nothing. Blocks for a write to the disk.
    ///
    /// # Errors
    /// [`Error::AnotherCluster`]: it belongs to another one. [`Error::Io`].
    pub fn set_cluster(&self, wanted: ClusterId) -> Result<(), Error> {
        let _writing = self.begin_writing()?;
        let identity = self.identity();
        match identity.cluster {
            Some(found) if found == wanted => Ok(()),
            Some(found) => Err(Error::AnotherCluster { directory: self.disk.describe(""), found, wanted }),
            None => {
                let joined = Identity { cluster: Some(wanted), ..identity };
                write_identity(&*self.disk, joined)?;
                *locked(&self.identity) = joined;
                Ok(())
            }
        }
    }

    /// What the directory remembers from before it belonged to a cluster. Never waits for the disk.
    pub fn founding(&self) -> FoundingRecord {
        locked(&self.founding).clone()
    }

    /// Changes that, durably; nothing is written when nothing changes. The caller sees to it that nobody else does at the same
    /// time. Blocks for a write to the disk.
    ///
    /// # Errors
    /// [`Error::Io`]: it is as it was.
    pub fn set_founding(&self, record: FoundingRecord) -> Result<(), Error> {
        let _writing = self.begin_writing()?;
        if self.founding() != record {
            write_founding(&*self.disk, &RecordText::new(&record))?;
            *locked(&self.founding) = record;
        }
        Ok(())
    }

    /// Gives the directory up as that of a node which was removed from `cluster`: its data is moved to `set-aside/NODE-ID/` in
    /// the directory, where it takes the place of what was set aside before, and who opens the directory next finds another node,
    /// which remembers the cluster only. Returns where the data is. The log has been closed before, and the owner drops the
    /// directory next. Whoever still wants to write to it is refused from here on.
    ///
    /// # Errors
    /// [`Error::Io`]: who opens the directory next goes on moving.
    pub fn set_aside(&self, cluster: ClusterId) -> Result<PathBuf, Error> {
        let node = self.identity().node;
        let remembered = FoundingRecord { asks: true, former: Some(cluster), ..FoundingRecord::default() };
        let mut writing = locked(&self.writing);
        *writing = Writing::Over;
        mark_setting_aside(&*self.disk, node, &remembered)?;
        finish_setting_aside(&self.path, &*self.disk, &mut || Ok(()))?;
        Ok(self.path.join(set_aside::DIRECTORY).join(node.to_string()))
    }

    /// The address book as it was last saved; empty if it never was.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn contacts(&self) -> Result<Vec<Contact>, Error> {
        let Some(text) = whole_file::read(&*self.disk, ADDRESSES)? else { return Ok(Vec::new()) };
        let lines = text.lines().map(|line| serde_json::from_str::<ContactLine>(line).ok()?.into_contact());
        let contacts = lines.collect::<Option<Vec<Contact>>>();
        contacts.ok_or_else(|| whole_file::damaged(&*self.disk, ADDRESSES, "a line is not a contact"))
    }

    /// Saves the address book, durably. Blocks for a write to the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_contacts(&self, contacts: &[Contact]) -> Result<(), Error> {
        let line =
            |contact| serde_json::to_string(&ContactLine::new(contact)).expect("strings and numbers have a JSON form");
        let lines: Vec<String> = contacts.iter().map(line).collect();
        let _writing = self.begin_writing()?;
        whole_file::write(&*self.disk, ADDRESSES, &lines.join("\n"))
    }

    fn begin_writing(&self) -> Result<MutexGuard<'_, Writing>, Error> {
        let writing = locked(&self.writing);
        match *writing {
            Writing::Allowed => Ok(writing),
            Writing::Over => Err(Error::SetAside { directory: self.path.display().to_string() }),
        }
    }

    /// The disk for the log.
    pub fn disk(&self) -> FileDisk {
        FileDisk::new(&self.path)
    }
}

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().expect("no code panics while it holds the lock")
}

/// The identity file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityText {
    format_version: u32,
    node_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
}

/// What every release can read of the identity file of any other.
#[derive(Deserialize)]
struct VersionText {
    format_version: u32,
}

/// One line of the address book.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContactLine {
    node_id: String,
    name: String,
    client_address: String,
    peer_address: String,
    version: u64,
}

impl IdentityText {
    fn into_identity(self) -> Option<Identity> {
        let cluster = match self.cluster_id {
            Some(cluster) => Some(cluster.parse().ok()?),
            None => None,
        };
        Some(Identity { node: self.node_id.parse().ok()?, cluster })
    }
}

impl ContactLine {
    pub fn new(contact: &Contact) -> Self {
        Self {
            node_id: contact.node.to_string(),
            name: contact.name.clone(),
            client_address: contact.client_address.clone(),
            peer_address: contact.peer_address.clone(),
            version: contact.version,
        }
    }

    pub fn into_contact(self) -> Option<Contact> {
        Some(Contact {
            node: self.node_id.parse().ok()?,
            name: self.name,
            client_address: self.client_address,
            peer_address: self.peer_address,
            version: self.version,
        })
    }
}

/// Makes a directory, and those above it that are missing.
fn make(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make(above)?;
    let named = || path.display().to_string();
    // Recursive only so that it is no error when somebody else makes the same directory at the same time.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("make the directory", named()))?;
    // The name of each directory that was made must outlive a crash, too.
    let synced = fs::File::open(above).and_then(|above| above.sync_all());
    synced.map_err(Error::io("sync", above.display().to_string()))
}

fn lock(path: &Path) -> Result<fs::File, Error> {
    let file = path.join(LOCK);
    let named = file.display().to_string();
    let mut options = fs::OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let lock = options.open(file).map_err(Error::io("open", &named))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Locked { directory: path.display().to_string() }),
        Err(fs::TryLockError::Error(error)) => Err(Error::io("lock", named)(error)),
    }
}

fn read_founding(disk: &dyn Disk) -> Result<RecordText, Error> {
    let Some(text) = whole_file::read(disk, FOUNDING)? else { return Ok(RecordText::default()) };
    serde_json::from_str(&text).map_err(|error| whole_file::damaged(disk, FOUNDING, error.to_string()))
}

fn write_founding(disk: &dyn Disk, text: &RecordText) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(text).expect("strings and numbers have a JSON form");
    whole_file::write(disk, FOUNDING, &text)
}

/// Says durably that all that is in the directory is that of `node`, and is to go; and what is to be remembered then.
fn mark_setting_aside(disk: &dyn Disk, node: NodeId, remembered: &FoundingRecord) -> Result<(), Error> {
    let mut text = RecordText::new(remembered);
    text.sets_aside = Some(node.to_string());
    write_founding(disk, &text)
}

/// Moves what is still to be moved, and returns what the directory remembers. Calls `step` before each change.
fn finish_setting_aside(
    path: &Path,
    disk: &dyn Disk,
    step: &mut impl FnMut() -> Result<(), Error>,
) -> Result<FoundingRecord, Error> {
    let text = read_founding(disk)?;
    let sets_aside = text.sets_aside.clone();
    let record = text.into_record().ok_or_else(|| whole_file::damaged(disk, FOUNDING, "an id in it is not one"))?;
    if let Some(node) = sets_aside {
        let named = node.parse::<NodeId>().map_err(|error| whole_file::damaged(disk, FOUNDING, error.to_string()))?;
        set_aside::move_files(path, &named.to_string(), &[FOUNDING, LOCK, LOST_AND_FOUND], step)?;
        step()?;
        set_aside::remove_others(path, &named.to_string());
        step()?;
        write_founding(disk, &RecordText::new(&record))?;
    }
    Ok(record)
}

/// Gives a directory its identity, if nothing in it needs the one that is missing.
fn format(disk: &dyn Disk, founding: &FoundingRecord) -> Result<Identity, Error> {
    let has_promised = founding.promise.is_some() || founding.applies.is_some();
    let has_log = !segment::ids(disk)?.is_empty();
    let has_manifest = whole_file::read(disk, manifest::NAME)?.is_some();
    if has_promised || has_log || has_manifest || whole_file::read(disk, ADDRESSES)?.is_some() {
        return Err(whole_file::damaged(disk, IDENTITY, "it is missing, and other files of a node are there"));
    }
    let identity = Identity { node: NodeId(rand::random_range(1..=u64::MAX)), cluster: None };
    write_identity(disk, identity)?;
    Ok(identity)
}

fn read_identity(disk: &dyn Disk) -> Result<Option<Identity>, Error> {
    let Some(text) = whole_file::read(disk, IDENTITY)? else { return Ok(None) };
    let damaged = |why: &str| whole_file::damaged(disk, IDENTITY, why);
    let version: VersionText = serde_json::from_str(&text).map_err(|_| damaged("it has no format version"))?;
    if version.format_version > FORMAT_VERSION {
        let file = disk.describe(IDENTITY);
        return Err(Error::NewerFormat { file, found: version.format_version, known: FORMAT_VERSION });
    }
    let text: IdentityText = serde_json::from_str(&text).map_err(|error| damaged(&error.to_string()))?;
    text.into_identity().map(Some).ok_or_else(|| damaged("an id in it is not one"))
}

fn write_identity(disk: &dyn Disk, identity: Identity) -> Result<(), Error> {
    let text = IdentityText {
        format_version: FORMAT_VERSION,
        node_id: identity.node.to_string(),
        cluster_id: identity.cluster.map(|cluster| cluster.to_string()),
    };
    let text = serde_json::to_string_pretty(&text).expect("strings and numbers have a JSON form");
    whole_file::write(disk, IDENTITY, &text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::founding_record::Proposal;
    use super::super::memory::MemoryDisk;
    use super::*;
    use crate::raft::CommitQuorum;

    fn contact(node: u64, name: &str) -> Contact {
        let (client_address, peer_address) = ("[::1]:7400".to_owned(), "host:7401".to_owned());
        Contact { node: NodeId(node), name: name.to_owned(), client_address, peer_address, version: 3 }
    }

    /// All files with their content.
    fn contents(path: &Path) -> Vec<(String, Vec<u8>)> {
        let mut contents: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
            .collect();
        contents.sort();
        contents
    }

    #[test]
    fn a_directory_is_formatted_once_and_keeps_what_it_was_told() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("deep/data");
        let directory = DataDirectory::open(&path).unwrap();
        let identity = directory.identity();
        assert_eq!(identity.cluster, None);
        assert_eq!(directory.contacts().unwrap(), []);
        directory.set_cluster(ClusterId(7)).unwrap();
        let contacts = [contact(1, "a"), contact(2, "spaces, \"quotes\"\nand lines")];
        directory.save_contacts(&contacts).unwrap();
        drop(directory);

        let directory = DataDirectory::open(&path).unwrap();
        assert_eq!(directory.identity(), Identity { cluster: Some(ClusterId(7)), ..identity });
        assert_eq!(directory.contacts().unwrap(), contacts);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        for (file, _) in contents(&path) {
            assert_eq!(mode(&path.join(&file)), 0o600, "{file}");
        }
    }

    /// Readers are threads that serve everybody: while a disk hangs they say what was durable before.
    #[test]
    fn who_reads_does_not_wait_for_who_writes() {
        let (above, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
        let directory = Arc::new(DataDirectory::open_on(above.path(), Arc::new(disk.clone())).unwrap());
        let writes: [fn(&DataDirectory); 2] = [
            |directory| directory.set_founding(FoundingRecord { asks: true, ..Default::default() }).unwrap(),
            |directory| directory.set_cluster(ClusterId(7)).unwrap(),
        ];
        for write in writes {
            let read = |directory: &DataDirectory| (directory.identity(), directory.founding());
            let (before, hung) = (read(&directory), disk.hang());
            let writer = std::thread::spawn({
                let directory = directory.clone();
                move || write(&directory)
            });
            while !hung.is_waited_for() {
                std::thread::yield_now();
            }
            let (tell, told) = std::sync::mpsc::channel();
            std::thread::spawn({
                let directory = directory.clone();
                // Nobody listens any more once the test has failed.
                move || drop(tell.send(read(&directory)))
            });
            assert_eq!(told.recv_timeout(std::time::Duration::from_secs(10)), Ok(before.clone()));
            drop(hung);
            writer.join().unwrap();
            assert_ne!(read(&directory), before);
        }
    }

    #[test]
    fn two_directories_have_two_node_ids() {
        let above = tempfile::tempdir().unwrap();
        let open = |name| DataDirectory::open(&above.path().join(name)).unwrap().identity().node;
        assert_ne!(open("a"), open("b"));
    }

    #[test]
    fn a_directory_in_use_is_an_error_that_names_it() {
        let above = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(above.path()).unwrap();
        let error = DataDirectory::open(above.path()).err().unwrap();
        assert!(matches!(error, Error::Locked { .. }) && error.to_string().contains(above.path().to_str().unwrap()));
        drop(directory);
        DataDirectory::open(above.path()).unwrap();
    }

    #[test]
    fn a_directory_of_another_cluster_is_an_error_that_names_both() {
        let above = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(above.path()).unwrap();
        directory.set_cluster(ClusterId(1)).unwrap();
        directory.set_cluster(ClusterId(1)).unwrap();
        let error = directory.set_cluster(ClusterId(2)).unwrap_err();
        assert!(matches!(error, Error::AnotherCluster { found: ClusterId(1), wanted: ClusterId(2), .. }), "{error}");
        assert_eq!(directory.identity().cluster, Some(ClusterId(1)));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_taken_for_absent() {
        let above = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(above.path()).unwrap();
        directory.save_contacts(&[contact(1, "a")]).unwrap();
        let addresses = above.path().join(ADDRESSES);
        fs::write(&addresses, "").unwrap();
        assert!(matches!(directory.contacts(), Err(Error::Damaged { file, .. }) if file.ends_with(ADDRESSES)));
        drop(directory);
        let identity = above.path().join(IDENTITY);
        for text in ["", "{}", "{\"format_version\": 1}\ncrc32c 00000000\n"] {
            fs::write(&identity, text).unwrap();
            let error = DataDirectory::open(above.path()).err().unwrap();
            assert!(matches!(&error, Error::Damaged { file, .. } if file.ends_with(IDENTITY)), "{text:?}: {error}");
        }
    }

    #[test]
    fn what_it_remembers_from_before_it_belonged_to_a_cluster_survives() {
        let above = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(above.path()).unwrap();
        assert_eq!(directory.founding(), FoundingRecord::default());
        let promise = Proposal {
            cluster: ClusterId(7),
            proposer: NodeId(1),
            attempt: 3,
            founders: vec![contact(1, "a-0"), contact(2, "a-1")],
            commit_quorum: CommitQuorum::HalfPlusOne,
        };
        let record = FoundingRecord {
            asks: true,
            applies: Some(ClusterId(8)),
            former: Some(ClusterId(9)),
            promise: Some(promise),
            lost: vec![NodeId(4), NodeId(5)],
        };
        directory.set_founding(record.clone()).unwrap();
        drop(directory);
        assert_eq!(DataDirectory::open(above.path()).unwrap().founding(), record);
        fs::write(above.path().join(FOUNDING), "{}").unwrap();
        assert!(matches!(DataDirectory::open(above.path()), Err(Error::Damaged { .. })));
    }

    /// Others may hold the directory until the process ends, such as who learns addresses: the next start must not find a file of
    /// a node without an identity.
    #[test]
    fn nothing_is_written_to_a_directory_that_is_set_aside() {
        let above = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(above.path()).unwrap();
        directory.save_contacts(&[contact(1, "a")]).unwrap();
        let aside = directory.set_aside(ClusterId(7)).unwrap();
        let record = FoundingRecord { asks: true, ..FoundingRecord::default() };
        let refused = [
            directory.save_contacts(&[contact(2, "b")]),
            directory.set_cluster(ClusterId(8)),
            directory.set_founding(record),
        ];
        assert!(refused.iter().all(|refused| matches!(refused, Err(Error::SetAside { .. }))), "{refused:?}");
        assert!(aside.join(ADDRESSES).is_file() && !above.path().join(ADDRESSES).exists());
        drop(directory);
        assert_eq!(DataDirectory::open(above.path()).unwrap().founding().former, Some(ClusterId(7)));
    }

    #[test]
    fn only_what_was_set_aside_last_is_kept() {
        let above = tempfile::tempdir().unwrap();
        let others = above.path().join(set_aside::DIRECTORY).join("of somebody else");
        fs::create_dir_all(&others).unwrap();
        let asides = [7, 8, 9].map(|cluster| {
            let directory = DataDirectory::open(above.path()).unwrap();
            directory.set_cluster(ClusterId(cluster)).unwrap();
            directory.set_aside(ClusterId(cluster)).unwrap()
        });
        let kept: Vec<bool> = asides.iter().map(|aside| aside.join(IDENTITY).is_file()).collect();
        assert_eq!(kept, [false, false, true]);
        assert!(!asides[0].exists() && others.is_dir());
    }

    /// The process dies before each of the steps: whoever opens the directory next finishes, and all of the old node's files are
    /// in the one place, whole, while the directory is another node's.
    #[test]
    fn a_crash_at_every_step_of_setting_aside_is_repaired() {
        let mut steps_max = 0;
        for dies_after in 0..20 {
            let above = tempfile::tempdir().unwrap();
            let directory = DataDirectory::open(above.path()).unwrap();
            let old = directory.identity().node;
            directory.set_cluster(ClusterId(7)).unwrap();
            directory.save_contacts(&[contact(1, "a")]).unwrap();
            fs::create_dir(above.path().join(LOST_AND_FOUND)).unwrap();
            for file in ["segment-0000000000000001.log", "manifest"] {
                fs::write(above.path().join(file), file).unwrap();
            }
            let files = |path: &Path| {
                let kept =
                    |name: &String| ![LOCK, FOUNDING, LOST_AND_FOUND, set_aside::DIRECTORY].contains(&name.as_str());
                let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
                let read = |name: String| (name.clone(), fs::read(path.join(name)).unwrap());
                names.filter(kept).map(read).collect::<std::collections::BTreeMap<_, _>>()
            };
            let before = files(above.path());
            let remembered = FoundingRecord { former: Some(ClusterId(7)), ..FoundingRecord::default() };
            mark_setting_aside(&*directory.disk, old, &remembered).unwrap();
            let mut steps = 0;
            let died = finish_setting_aside(above.path(), &*directory.disk, &mut || {
                steps += 1;
                if steps > dies_after { Err(Error::Failed) } else { Ok(()) }
            });
            steps_max = steps_max.max(steps);
            drop(directory);

            let directory = DataDirectory::open(above.path()).unwrap();
            let identity = directory.identity();
            assert!(identity.node != old && identity.cluster.is_none(), "{dies_after}: {identity:?}, {died:?}");
            assert_eq!(directory.founding(), remembered);
            assert!(directory.contacts().unwrap().is_empty());
            let aside = above.path().join(set_aside::DIRECTORY).join(old.to_string());
            assert_eq!(files(&aside), before, "{dies_after}");
            assert!(above.path().join(LOST_AND_FOUND).is_dir(), "{dies_after}");
            drop(directory);
            assert_eq!(DataDirectory::open(above.path()).unwrap().identity(), identity);
        }
        assert!((8..20).contains(&steps_max), "{steps_max} steps");
    }

    #[test]
    fn a_missing_identity_is_not_made_up_when_other_files_are_there() {
        let above = tempfile::tempdir().unwrap();
        DataDirectory::open(above.path()).unwrap().save_contacts(&[]).unwrap();
        fs::remove_file(above.path().join(IDENTITY)).unwrap();
        assert!(matches!(DataDirectory::open(above.path()), Err(Error::Damaged { .. })));
        fs::remove_file(above.path().join(ADDRESSES)).unwrap();
        fs::write(above.path().join(segment::name(1)), "").unwrap();
        assert!(matches!(DataDirectory::open(above.path()), Err(Error::Damaged { .. })));
        fs::remove_file(above.path().join(segment::name(1))).unwrap();
        DataDirectory::open(above.path()).unwrap();
    }

    #[test]
    fn a_directory_of_a_later_release_is_one_error_and_stays_untouched() {
        let above = tempfile::tempdir().unwrap();
        let text = "{\"format_version\": 2, \"what_we_do_not_know\": true}";
        whole_file::write(&FileDisk::new(above.path()), IDENTITY, text).unwrap();
        let before = contents(above.path());
        let error = DataDirectory::open(above.path()).err().unwrap();
        assert!(matches!(error, Error::NewerFormat { found: 2, known: 1, .. }), "{error}");
        assert_eq!(contents(above.path()), before);
    }
}
