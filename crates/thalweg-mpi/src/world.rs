//! The ranks of a job, and the few calls of MPI that they need. Every call ends: waiting too long is an error.

use crate::error::{Error, Result};
use bytemuck::Pod;
use mpi::environment::{Threading, Universe};
use mpi::ffi;
use std::cell::Cell;
use std::ffi::{c_char, c_int};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// How long a rank waits for the others, unless [`World::with_patience`] sets another time.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// So long a rank that waits keeps its core: what it waits for is usually there by then.
const KEEP: Duration = Duration::from_micros(500);
/// So long after the wait began it still asks all the time, and offers its core to others in between.
const SPIN: Duration = Duration::from_millis(20);
/// From then on it pauses so long each time.
const NAP: Duration = Duration::from_micros(200);

/// A type that MPI can send.
pub trait Datum: Pod {
    /// Its type in MPI.
    #[doc(hidden)]
    fn datatype() -> ffi::MPI_Datatype;
}

macro_rules! datum {
    ($($rust:ty => $mpi:ident),* $(,)?) => {
        $(impl Datum for $rust {
            #[expect(unsafe_code, reason = "MPI's types are C statics")]
            fn datatype() -> ffi::MPI_Datatype {
                // SAFETY: a constant that MPI's library defines, and that nothing writes to.
                unsafe { ffi::$mpi }
            }
        })*
    };
}

datum! { u8 => RSMPI_UINT8_T, u32 => RSMPI_UINT32_T, f32 => RSMPI_FLOAT, f64 => RSMPI_DOUBLE }

/// The ranks of a job.
///
/// Each rank waits for a limited time until something comes from the others: while gradients travel, counted from the last
/// message that came; else, as for parameters of [`Sharded`](crate::Sharded), until all of it is there. After it has waited in
/// vain, nothing more is sent. MPI is then not ended when this is dropped, since that would wait for dead ranks: end the
/// process with an exit code other than 0, and `mpirun` ends all others.
pub struct World {
    universe: Option<Universe>,
    pub(crate) comm: ffi::MPI_Comm,
    rank: usize,
    ranks: usize,
    patience: Duration,
    /// Whether a rank did not answer, or a call failed.
    pub(crate) lost: Cell<bool>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rank, ranks, patience, lost, .. } = self;
        f.debug_struct("World")
            .field("rank", rank)
            .field("ranks", ranks)
            .field("patience", patience)
            .field("lost", lost)
            .finish()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.lost.get() {
            std::mem::forget(self.universe.take());
        }
    }
}

/// The error of a call of MPI, if it failed.
#[expect(unsafe_code, reason = "a call of C")]
pub(crate) fn check(call: &'static str, code: c_int) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    let mut text = [0; ffi::MPI_MAX_ERROR_STRING as usize];
    let mut len = 0;
    // SAFETY: the buffer is as long as MPI's longest text.
    unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr().cast::<c_char>(), &mut len) };
    let text: &[u8] = &text[..len.max(0) as usize];
    Err(Error::Mpi { call, message: String::from_utf8_lossy(text).into_owned() })
}

/// Counts, and behind them the offsets that follow from them, as MPI takes them.
fn places(what: &'static str, counts: &[usize]) -> Result<Vec<c_int>> {
    let total: usize = counts.iter().sum();
    let _: c_int = total.try_into().map_err(|_| Error::TooLarge { what, elements: total })?;
    let starts = counts.iter().scan(0, |start, count| Some(std::mem::replace(start, *start + count)));
    Ok(counts.iter().copied().chain(starts).map(|place| place as c_int).collect())
}

impl World {
    /// Starts MPI. Without `mpirun` there is one rank.
    ///
    /// # Errors
    /// [`Error::NotStarted`] if MPI was started before in this process.
    #[expect(unsafe_code, reason = "calls of C")]
    pub fn start() -> Result<Self> {
        let started = mpi::initialize_with_threading(Threading::Funneled);
        let (universe, _) = started.ok_or_else(|| Error::NotStarted("it is running in this process already".into()))?;
        // SAFETY: MPI runs; the communicator of all ranks is a constant of its library.
        let comm = unsafe { ffi::RSMPI_COMM_WORLD };
        let (mut rank, mut ranks) = (0, 0);
        // SAFETY: MPI runs, the communicator is valid, and the integers outlive the calls.
        let codes = unsafe {
            [
                ffi::MPI_Comm_set_errhandler(comm, ffi::RSMPI_ERRORS_RETURN),
                ffi::MPI_Comm_rank(comm, &mut rank),
                ffi::MPI_Comm_size(comm, &mut ranks),
            ]
        };
        codes.into_iter().try_for_each(|code| check("MPI_Comm_rank", code))?;
        let (rank, ranks) = (rank as usize, ranks as usize);
        Ok(Self { universe: Some(universe), comm, rank, ranks, patience: PATIENCE, lost: Cell::new(false) })
    }

    /// Waits this long for other ranks, instead of [`PATIENCE`]. It has to be longer than the slowest rank may be behind the
    /// fastest with its micro-batches.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The number of this rank, counted from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// The number of this rank among those of its machine, and how many these are.
    ///
    /// # Errors
    /// As for [`World::gather`].
    #[expect(unsafe_code, reason = "a call of C")]
    pub fn on_this_machine(&self) -> Result<(usize, usize)> {
        let mut name = [0; ffi::MPI_MAX_PROCESSOR_NAME as usize];
        let mut len = 0;
        // SAFETY: the buffer is as long as MPI's longest name.
        let code = unsafe { ffi::MPI_Get_processor_name(name.as_mut_ptr().cast::<c_char>(), &mut len) };
        check("MPI_Get_processor_name", code)?;
        let name: &[u8] = &name[..len.max(0) as usize];
        let all = self.texts("the names of machines", &String::from_utf8_lossy(name))?;
        let here = |ranks: &[String]| ranks.iter().filter(|name| **name == all[self.rank]).count();
        Ok((here(&all[..self.rank]), here(&all)))
    }

    /// Every rank's values, as many from each, rank after rank.
    ///
    /// # Errors
    /// [`Error::NoAnswer`], or a call that failed.
    #[expect(unsafe_code, reason = "a call of C")]
    pub fn gather<T: Datum>(&self, waiting: &'static str, own: &[T]) -> Result<Vec<T>> {
        let count: c_int = own.len().try_into().map_err(|_| Error::TooLarge { what: waiting, elements: own.len() })?;
        let mut send = own.to_vec();
        let mut all = vec![T::zeroed(); own.len() * self.ranks];
        self.call("MPI_Iallgather", waiting, &mut send, &mut all, |send, all, request| {
            // SAFETY: both buffers live until the request is done, or for ever (see `call`); all has room for every rank's
            // values.
            unsafe { ffi::MPI_Iallgather(send, count, T::datatype(), all, count, T::datatype(), self.comm, request) }
        })?;
        Ok(all)
    }

    /// Every rank's values, `counts[r]` from rank r, rank after rank. `send` has this rank's own.
    ///
    /// # Errors
    /// As for [`World::gather`].
    #[expect(unsafe_code, reason = "a call of C")]
    pub fn gather_all<T: Datum>(
        &self,
        waiting: &'static str,
        send: &mut Vec<T>,
        all: &mut Vec<T>,
        counts: &[usize],
    ) -> Result<()> {
        let own = counts[self.rank];
        self.room(waiting, all.len(), counts)?;
        self.room(waiting, send.len(), &[own])?;
        let mut places = places(waiting, counts)?;
        let ranks = self.ranks;
        let pointers = (places.as_ptr(), places[ranks..].as_ptr());
        let called = self.call("MPI_Iallgatherv", waiting, send, all, |send, all, request| {
            let (counts, starts) = pointers;
            let (kind, own) = (T::datatype(), own as c_int);
            // SAFETY: all buffers live until the request is done, or for ever (see `call` and below); their lengths were
            // checked.
            unsafe { ffi::MPI_Iallgatherv(send, own, kind, all, counts, starts, kind, self.comm, request) }
        });
        self.keep_if_lost(&mut places);
        called
    }

    /// The sums of all ranks' values by the call of MPI that waits without a limit, as the reference in measurements.
    ///
    /// # Errors
    /// A call that failed.
    #[expect(unsafe_code, reason = "a call of C")]
    pub fn add_waiting<T: Datum>(&self, own: &[T], sums: &mut Vec<T>) -> Result<()> {
        self.room("gradients", sums.len(), &[own.len()])?;
        let count: c_int = own.len().try_into().map_err(|_| Error::TooLarge { what: "gradients", elements: own.len() })?;
        let (own, sums) = (own.as_ptr().cast(), sums.as_mut_ptr().cast());
        // SAFETY: both buffers have `count` values, and live until the call is done.
        let code = unsafe { ffi::MPI_Allreduce(own, sums, count, T::datatype(), ffi::RSMPI_SUM, self.comm) };
        check("MPI_Allreduce", code)
    }

    /// This rank's result, unless some rank has failed: then all ranks get the error of the first one that failed.
    ///
    /// # Errors
    /// [`Error::Rank`] if any rank failed, or as for [`World::gather`].
    pub fn agree<T, E: std::fmt::Display>(&self, waiting: &'static str, result: std::result::Result<T, E>) -> Result<T> {
        let message = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let failed = self.gather(waiting, &[u32::from(result.is_err())])?;
        let Some(rank) = failed.iter().position(|&failed| failed != 0) else {
            return result.map_err(|error| Error::Rank { rank: self.rank, message: error.to_string() });
        };
        let texts = self.texts(waiting, &message)?;
        Err(Error::Rank { rank, message: texts[rank].clone() })
    }

    /// Every rank's text.
    ///
    /// # Errors
    /// As for [`World::gather`].
    pub fn texts(&self, waiting: &'static str, own: &str) -> Result<Vec<String>> {
        let lens: Vec<usize> = self.gather(waiting, &[own.len() as u32])?.into_iter().map(|len| len as usize).collect();
        if lens.iter().all(|&len| len == 0) {
            // One rank that sends nothing is an error of MPI.
            return Ok(vec![String::new(); self.ranks]);
        }
        let (mut send, mut all) = (own.as_bytes().to_vec(), vec![0_u8; lens.iter().sum()]);
        self.gather_all(waiting, &mut send, &mut all, &lens)?;
        let starts = lens.iter().scan(0, |start, len| Some(std::mem::replace(start, *start + len)));
        let text = |(start, len): (usize, &usize)| String::from_utf8_lossy(&all[start..start + len]).into_owned();
        Ok(starts.zip(&lens).map(text).collect())
    }

    /// Checks that a buffer has as many values as are sent or received.
    pub(crate) fn room(&self, waiting: &'static str, len: usize, counts: &[usize]) -> Result<()> {
        let needed: usize = counts.iter().sum();
        let holds = len == needed && (counts.len() == self.ranks || counts.len() == 1);
        if holds { Ok(()) } else { Err(thalweg::Error::shape(waiting, format!("{needed} values"), len).into()) }
    }

    /// Starts a call that does not wait, and tests whether it is done until the time is over. If it is not done by then, the
    /// buffers are never freed, since MPI may still write to them.
    #[expect(unsafe_code, reason = "calls of C")]
    fn call<T: Datum>(
        &self,
        call: &'static str,
        waiting: &'static str,
        send: &mut Vec<T>,
        taken: &mut Vec<T>,
        start: impl FnOnce(*const std::ffi::c_void, *mut std::ffi::c_void, *mut ffi::MPI_Request) -> c_int,
    ) -> Result<()> {
        self.still(waiting)?;
        // SAFETY: a constant of MPI's library.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        check(call, start(send.as_ptr().cast(), taken.as_mut_ptr().cast(), &mut request))?;
        let ended = self.until(waiting, || {
            let mut done = 0;
            // SAFETY: the request is that of the call above; MPI sets it to none once it is done.
            check(call, unsafe { ffi::MPI_Test(&mut request, &mut done, ffi::RSMPI_STATUS_IGNORE) })?;
            Ok(if done != 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(false) })
        });
        self.keep_if_lost(send);
        self.keep_if_lost(taken);
        ended
    }

    /// Asks again and again, until the answer is that all is over; else it says whether anything has come meanwhile. It is an
    /// error if nothing has come for as long as a rank waits; nothing more is sent then, or after any other error.
    pub(crate) fn until(&self, waiting: &'static str, mut ask: impl FnMut() -> Result<ControlFlow<(), bool>>) -> Result<()> {
        self.still(waiting)?;
        let mut since = Instant::now();
        let ended = loop {
            match ask() {
                Ok(ControlFlow::Break(())) => return Ok(()),
                Ok(ControlFlow::Continue(true)) => since = Instant::now(),
                Ok(ControlFlow::Continue(false)) if since.elapsed() > self.patience => break Err(self.no_answer(waiting)),
                Ok(ControlFlow::Continue(false)) => {}
                Err(error) => break Err(error),
            }
            // Others need this core more where the wait is long.
            match since.elapsed() {
                waited if waited < KEEP => std::hint::spin_loop(),
                waited if waited < SPIN => std::thread::yield_now(),
                _ => std::thread::sleep(NAP),
            }
        };
        self.lost.set(true);
        ended
    }

    /// An error once a rank did not answer, or a call failed.
    pub(crate) fn still(&self, waiting: &'static str) -> Result<()> {
        if self.lost.get() { Err(self.no_answer(waiting)) } else { Ok(()) }
    }

    fn no_answer(&self, waiting: &'static str) -> Error {
        Error::NoAnswer { waiting, rank: self.rank, patience: self.patience }
    }

    /// Leaks a buffer that MPI may still use.
    fn keep_if_lost<T>(&self, buffer: &mut Vec<T>) {
        if self.lost.get() {
            std::mem::forget(std::mem::take(buffer));
        }
    }
}
