//! One life of the simulated process: a keeper, its prototypes, and what the application has in
//! hand.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use checkpoint::{
    BuildError, CheckpointTicket, PeGuard, PePrototype, Pool, ProcessError, RegisterError,
    SafeKeeper, StateStorage, StorageCallback, StorageCallbackFactory, StorageResult, ThreadStart,
};

use super::book::Book;
use super::clock::SimulatedClock;
use super::computer::Computer;
use super::content::{PROTOTYPES, owner_of, owner_of_id, place_of};
use super::dice::Dice;
use super::ledger::{Ledger, Trap, planned_panic};
use super::met::Met;
use super::mirrored_storage::MirroredStorage;
use super::profile::Profile;
use super::storage::SimulatedStorage;
use super::trace::{Trace, lock};
use super::world::{World, deliver_one};

pub(super) type Prototype = PePrototype<u64, Ledger>;

/// What outlives the process, and what its callbacks need.
pub(super) struct Surroundings {
    pub(super) clock: Arc<SimulatedClock>,
    /// What the store lies on, if it is not simulated.
    pub(super) computer: Option<Arc<Mutex<Computer>>>,
    pub(super) world: Arc<Mutex<World>>,
    pub(super) book: Arc<Mutex<Book>>,
    pub(super) trace: Trace,
    /// The prototypes of the living process.
    pub(super) prototypes: Mutex<Vec<Prototype>>,
    pub(super) tickets: Mutex<Vec<Watched>>,
    pub(super) dice: Mutex<Dice>,
    /// Something is done with PEs in memory from time to time.
    pub(super) has_on_time: bool,
}

/// What a manual request has to lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Checkpoint,
    Removal,
}

/// What a PE was when something was asked for.
#[derive(Debug, Clone)]
pub(super) struct AskedNow {
    pub(super) owner: u64,
    pub(super) live: Option<u64>,
    pub(super) was_dirty: bool,
    /// The last change that was made of any PE before.
    pub(super) last_serial: u64,
}

/// A ticket that is waited for.
pub(super) struct Watched {
    pub(super) ticket: CheckpointTicket,
    pub(super) asked: Asked,
    pub(super) was: AskedNow,
    pub(super) woken: Arc<Woken>,
}

/// Remembers that it was woken.
#[derive(Default)]
pub(super) struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Woken {
    pub(super) fn new() -> Arc<Self> {
        let woken = Arc::<Self>::default();
        woken.clone().wake();
        woken
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn poll<F: Future + ?Sized>(
        self: &Arc<Self>,
        future: Pin<&mut F>,
    ) -> Poll<F::Output> {
        self.0.store(false, Ordering::Relaxed);
        future.poll(&mut Context::from_waker(&Waker::from(self.clone())))
    }
}

/// What a future has come to.
pub(super) enum Done {
    Event(Result<(), ProcessError>),
    Guard(Result<PeGuard<u64, Ledger>, ProcessError>),
    Panicked,
}

/// A call that the application has not seen the end of.
pub(super) struct Pending {
    pub(super) owner: u64,
    pub(super) what: &'static str,
    future: Pin<Box<dyn Future<Output = Done>>>,
    pub(super) woken: Arc<Woken>,
    pub(super) began: Duration,
    /// When it was polled for the first time: its own time runs from then on.
    pub(super) polled: Option<Duration>,
    pub(super) ran: Arc<AtomicBool>,
}

impl Pending {
    pub(super) fn new(
        owner: u64,
        what: &'static str,
        began: Duration,
        ran: Arc<AtomicBool>,
        future: impl Future<Output = Done> + 'static,
    ) -> Self {
        Self {
            owner,
            what,
            future: Box::pin(future),
            woken: Woken::new(),
            began,
            polled: None,
            ran,
        }
    }

    pub(super) fn poll(&mut self, clock: &SimulatedClock) -> Option<Done> {
        self.polled.get_or_insert(clock.time());
        let Self { future, woken, .. } = self;
        let poll = || clock.in_brief(|| woken.poll(future.as_mut()));
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Ready(done)) => Some(done),
            Ok(Poll::Pending) => None,
            Err(_planned) => Some(Done::Panicked),
        }
    }
}

/// A PE that was lent out.
pub(super) struct Held {
    pub(super) owner: u64,
    pub(super) guard: PeGuard<u64, Ledger>,
    /// The serial of the first change under it.
    pub(super) changed: Option<u64>,
}

impl Surroundings {
    /// Notes what a PE is before something is asked for.
    pub(super) fn asked_now(&self, owner: u64) -> AskedNow {
        let mut book = lock(&self.book);
        book.read_news();
        // A callback asks for it just then.
        let is_replaced = book.replacing == Some(owner);
        let was_dirty = book.is_dirty(owner) && !is_replaced;
        // It may be something else already, and nobody has seen it yet.
        let may_be_other =
            is_replaced || book.may_be_reloaded(owner) || book.may_start_otherwise(owner);
        let live = if may_be_other { None } else { book.subject(owner).certain() };
        let last_serial = book.last_serial();
        let subject = book.subject(owner);
        // A guard may have changed it: so it is stored again, if only the ticket is to be had.
        subject.restated |= subject.out;
        subject.asked_while_out |= subject.out;
        AskedNow { owner, live, was_dirty, last_serial }
    }

    pub(super) fn count(&self, what: Met) {
        lock(&self.world).met.count(what);
    }

    pub(super) fn watch(&self, was: AskedNow, ticket: CheckpointTicket, asked: Asked) {
        let woken = Woken::new();
        let mut watched = Watched { ticket, asked, was, woken };
        if watched.woken.poll(Pin::new(&mut watched.ticket)).is_ready() {
            watched.woken.clone().wake();
        }
        lock(&self.tickets).push(watched);
    }
}

/// Whether this is told by a process that was taken over from.
struct Results {
    around: Weak<Surroundings>,
    process: u64,
}

impl StorageCallbackFactory for Results {
    fn create_storage_callback(&self, _prototype: &str) -> Arc<dyn StorageCallback> {
        Arc::new(Self { around: self.around.clone(), process: self.process })
    }
}

impl StorageCallback for Results {
    fn storage_operation_result(&self, result: &StorageResult<'_>) {
        let Some(around) = self.around.upgrade() else { return };
        if lock(&around.world).is_zombie(self.process) {
            return around.check_zombie(result);
        }
        lock(&around.book).result(result);
        let Some(owner) = owner_of_id(&result.id.to_owned()) else { return };
        let what = lock(&around.dice).below(20);
        let prototype = lock(&around.prototypes).get(place_of(owner).0).cloned();
        match what {
            0 => {
                around.count(Met::CallbackPanic);
                planned_panic()
            }
            1 | 2 => {
                let Some(prototype) = prototype else { return };
                let was = around.asked_now(owner);
                let ask = || prototype.checkpoint(place_of(owner).1);
                if let Ok(ticket) = around.clock.in_brief(ask) {
                    around.count(Met::CallbackAsks);
                    around.trace.add(format_args!("  the callback asks for {owner}"));
                    around.watch(was, ticket, Asked::Checkpoint);
                }
            }
            _ => {}
        }
    }
}

/// Starts a keeper over what is stored, as often as the power goes meanwhile.
pub(super) fn start(
    around: &Arc<Surroundings>,
    profile: &Profile,
    dice: &mut Dice,
) -> Arc<SafeKeeper> {
    loop {
        if let Some(keeper) = start_once(around, profile, dice) {
            return keeper;
        }
        around.start_is_cut_off();
    }
}

fn start_once(
    around: &Arc<Surroundings>,
    profile: &Profile,
    dice: &mut Dice,
) -> Option<Arc<SafeKeeper>> {
    let storage: Arc<dyn StateStorage> = match &around.computer {
        None => Arc::new(SimulatedStorage::of_new_process(&around.world)),
        Some(computer) => Arc::new(MirroredStorage::of_new_process(&around.world, computer)?),
    };
    let process = lock(&around.world).living_process();
    let keeper = loop {
        let callbacks = Results { around: Arc::downgrade(around), process };
        let threads = Arc::new(SimulatedThreads { around: Arc::downgrade(around) });
        let clock = around.clock.clone();
        let keeper = profile.keeper(storage.clone(), clock, dice.next(), callbacks, threads);
        match keeper.build() {
            Ok(keeper) => break Arc::new(keeper),
            // As planned: whoever starts it tries again.
            Err(BuildError::Storage(error)) if around.may_start_again(&error) => {}
            Err(BuildError::Storage(_)) => return None,
            Err(error) => panic!("a keeper is not built: {error}"),
        }
    };
    for (prototype, name) in PROTOTYPES.iter().enumerate() {
        let built = loop {
            let built = build(around, profile, &keeper, prototype, name);
            match built {
                Ok(built) => break built,
                Err(error @ RegisterError::Storage { .. }) => {
                    if !around.may_start_again(&error) {
                        return None;
                    }
                }
                Err(error) => panic!("a prototype is not built: {error}"),
            }
        };
        lock(&around.prototypes).push(built);
    }
    let (weak, world) = (Arc::downgrade(&keeper), Arc::downgrade(around));
    let dice = Mutex::new(dice.fork());
    around.clock.set_meanwhile(Some(Arc::new(move |at| {
        let Some(around) = world.upgrade() else { return };
        let (what, by, pool) = {
            let mut dice = lock(&dice);
            (dice.below(10), dice.next(), dice.pick(&POOLS))
        };
        match (what, weak.upgrade()) {
            (0..5, Some(keeper)) => {
                step(&around, &keeper, pool);
            }
            (5..8, _) => {
                deliver_one(&around.world);
            }
            _ => {
                let left = at.since_start().saturating_sub(around.clock.time());
                let by = Duration::from_micros(by % 60_000).min(left);
                around.clock.advance(by);
            }
        }
        lock(&around.book).read_news();
    })));
    Some(keeper)
}

fn build(
    around: &Arc<Surroundings>,
    profile: &Profile,
    keeper: &SafeKeeper,
    prototype: usize,
    name: &str,
) -> Result<Prototype, RegisterError> {
    let (book, removed) = (around.book.clone(), around.book.clone());
    let (expired, weak) = (around.book.clone(), Arc::downgrade(around));
    let process = lock(&around.world).living_process();
    let built = keeper
        .prototype::<u64, Ledger>(name)
        .config(profile.config(prototype))
        .create(move |key| {
            let made = lock(&book).make(owner_of(prototype, *key));
            made.unwrap_or_else(|| planned_panic())
        })
        .on_remove(move |key, _| {
            let trace = lock(&removed).trace.clone();
            trace.add(format_args!("  on_remove of {}", owner_of(prototype, *key)));
        })
        .on_expire(move |key| lock(&expired).expire(owner_of(prototype, *key)));
    let Some(interval) = profile.on_time else { return built.build() };
    let built = built.on_time(interval, move |key, pe| {
        if let Some(around) = weak.upgrade()
            && !lock(&around.world).is_zombie(process)
        {
            on_time(&around.book, owner_of(prototype, *key), pe);
        }
    });
    built.build()
}

/// What is done with each PE in memory, again and again.
fn on_time(book: &Mutex<Book>, owner: u64, pe: &mut Ledger) {
    let mut guard = lock(book);
    // Not while it is to become quiet.
    if !guard.times_on {
        return;
    }
    lock(&guard.world).met.count(Met::OnTime);
    guard.check_exposed_events(owner);
    guard.observe(owner, pe);
    guard.change(owner, pe, 1, Trap::None);
}

/// Threads that do nothing: a stepped keeper asks for some where a call hangs.
#[derive(Debug)]
struct SimulatedThreads {
    around: Weak<Surroundings>,
}

impl ThreadStart for SimulatedThreads {
    fn start(&self, name: String, _body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        let Some(around) = self.around.upgrade() else { return Err(io::ErrorKind::Other.into()) };
        if lock(&around.dice).chance(30) {
            around.count(Met::NoThread);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        around.count(Met::ReplacementThread);
        around.trace.add(format_args!("  {name} is started"));
        let thread = thread::Builder::new().spawn(|| {})?;
        while !thread.is_finished() {
            thread::yield_now();
        }
        Ok(thread)
    }
}

pub(super) const POOLS: [Pool; 4] =
    [Pool::Serialization, Pool::Storage, Pool::Fetching, Pool::Timing];

/// Lets a pool do one thing.
pub(super) fn step(around: &Surroundings, keeper: &SafeKeeper, pool: Pool) -> bool {
    // A storage thread that looks something up waits for the answer.
    lock(&around.world).may_delay_fetches = pool == Pool::Fetching;
    let stepped = keeper.step(pool);
    lock(&around.world).may_delay_fetches = false;
    if stepped {
        around.trace.add(format_args!("{pool:?}"));
    }
    let mut book = lock(&around.book);
    book.read_news();
    if pool == Pool::Serialization && !stepped {
        // Ticks are done by its threads, and none is due any more.
        book.ticked_at = around.clock.time();
    }
    stepped
}
