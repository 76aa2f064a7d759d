//! What each probe of discovery costs, each step around a move, and the parts of a traced call: in
//! ns of this thread's CPU time, in turns, on the same VMAs.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::{io, ptr};

use anyhow::{Context as _, Result};
use clap::Parser;
use mremap_benches::clock;
use mremap_benches::layout::{self, Layout, PAGE, Pattern, Shape};
use mremap_benches::rounds::{self, Variant};
use mremap_plan::procmap::{PROCMAP_QUERY, ProcmapQuery};
use syscalls::{Sysno, raw_syscall};

/// How often to measure, and among how many VMAs.
#[derive(Debug, Parser)]
struct Options {
    /// Number of unrelated VMAs in the process.
    #[arg(long, default_value_t = 0)]
    unrelated: usize,
    /// Number of rounds.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Probes for one figure.
    #[arg(long, default_value_t = 2000)]
    probes: usize,
    /// Also measure the pages of a new file in this directory.
    #[arg(long)]
    file: Option<PathBuf>,
}

/// Makes one system call. Its arguments are numbers and addresses of live memory.
macro_rules! call {
    ($name:ident $(, $argument:expr)*) => {{
        // SAFETY: changes no memory but what the probe lends, which outlives the call.
        unsafe { raw_syscall!(Sysno::$name $(, $argument)*) }
    }};
}

/// Name, number of plain probes that it costs, and the probe by its index.
type Probe<'a> = (&'a str, usize, &'a dyn Fn(usize) -> usize);

const VMAS: usize = 64;
/// No VMA can grow to this length.
const IMPOSSIBLE: usize = (1 << 47) - 65536;
/// Flags of an `mmap` with an invalid type, which never maps.
const NEVER: i32 = libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE | libc::MAP_ANONYMOUS;
/// Bytes that the library writes at a time to extend a trace.
const EXTENSION: usize = 256 << 10;

fn main() -> Result<()> {
    let options = Options::parse();
    layout::map_unrelated(options.unrelated)?;
    let layout = Layout::new(Shape {
        vmas: VMAS,
        pages: 2,
        gap_pages: 2,
        pattern: Pattern::Equal,
        is_touched: true,
    })?;
    let at = |index: usize| layout.start() + index % VMAS * layout.stride();
    let maps =
        || call!(openat, libc::AT_FDCWD, c"/proc/thread-self/maps".as_ptr(), libc::O_RDONLY, 0);
    let fd = maps();
    let mut name = [0u8; 256];
    let (name_at, name_len) = (name.as_mut_ptr().addr() as u64, name.len() as u32);
    let program = (main as fn() -> Result<()> as *const ()).addr() as u64;
    let mut mask = u64::MAX;
    let mask_at = (&raw mut mask).addr();
    let query = |address: u64, name_at: u64, name_len: u32| {
        let mut query = ProcmapQuery::at_or_above(address, name_at, name_len);
        call!(ioctl, fd, PROCMAP_QUERY, &raw mut query)
    };
    let probes: [Probe<'_>; 16] = [
        ("two counter reads", 1, &|_| clock::counter().wrapping_sub(clock::counter()) as usize),
        ("gettid", 1, &|_| call!(gettid)),
        ("no-op resize", 1, &|i| call!(mremap, at(i), 2 * PAGE, 2 * PAGE, 0, 0)),
        ("growth, one VMA (ENOMEM)", 1, &|i| call!(mremap, at(i), 2 * PAGE, IMPOSSIBLE, 0, 0)),
        ("growth, crosses (EFAULT)", 1, &|i| call!(mremap, at(i), 3 * PAGE, IMPOSSIBLE, 0, 0)),
        ("growth, 64 VMAs (EFAULT)", 1, &|_| call!(mremap, at(0), layout.len(), IMPOSSIBLE, 0, 0)),
        ("mmap that never maps, mapped (EEXIST)", 1, &|i| {
            call!(mmap, at(i), PAGE, 0, NEVER, usize::MAX, 0)
        }),
        ("mmap that never maps, free (EINVAL)", 1, &|i| {
            call!(mmap, at(i) + 2 * PAGE, PAGE, 0, NEVER, usize::MAX, 0)
        }),
        ("mincore, mapped page", 1, &|i| call!(mincore, at(i), PAGE, mask_at)),
        ("mincore, free page", 1, &|i| call!(mincore, at(i) + 2 * PAGE, PAGE, mask_at)),
        ("PROCMAP_QUERY, no name, anonymous", 1, &|i| query(at(i) as u64, 0, 0)),
        ("PROCMAP_QUERY, name, anonymous", 1, &|i| query(at(i) as u64, name_at, name_len)),
        ("PROCMAP_QUERY, no name, file", 1, &|_| query(program, 0, 0)),
        ("PROCMAP_QUERY, name, file", 1, &|_| query(program, name_at, name_len)),
        ("open and close maps", 10, &|_| {
            let fd = maps();
            call!(close, fd)
        }),
        ("rt_sigprocmask", 1, &|_| call!(rt_sigprocmask, libc::SIG_BLOCK, 0, mask_at, 8)),
    ];
    let mut variants: Vec<Variant<'_>> = Vec::new();
    for (label, cost, probe) in probes {
        let times = options.probes / cost;
        variants.push((label.to_owned(), Box::new(move || each(probe, times))));
    }
    // The whole of maps, by reads of several sizes, in ns for one line.
    for buffer_len in [1024, 4096, 65536] {
        variants.push((
            format!("maps as text, a line, reads of {buffer_len}"),
            Box::new(move || a_line_of_maps(buffer_len)),
        ));
    }
    if let Some(directory) = &options.file {
        let path = directory.join("pages");
        page_of_a_file(&path).with_context(|| format!("{}", path.display()))?;
        let measure = move || page_of_a_file(&path).unwrap_or(f64::NAN);
        variants.push(("page of a new file".to_owned(), Box::new(measure)));
    }
    let series = rounds::run(options.rounds, &mut variants);
    rounds::print(&series);
    Ok(())
}

/// ns for one probe, the mean of many.
fn each(probe: &dyn Fn(usize) -> usize, times: usize) -> f64 {
    let start = clock::thread_cpu_ns();
    for index in 0..times {
        std::hint::black_box(probe(index));
    }
    (clock::thread_cpu_ns() - start) as f64 / times as f64
}

/// ns for a page of a trace: zeros are written to the file, then the mapped page is stored to.
fn page_of_a_file(path: &Path) -> io::Result<f64> {
    const EXTENSIONS: usize = 16;
    let zeros = vec![0u8; EXTENSION];
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let (len, fd) = (EXTENSIONS * EXTENSION, file.as_raw_fd());
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the kernel chooses a free address.
    let mapped = unsafe { libc::mmap(ptr::null_mut(), len, protection, libc::MAP_SHARED, fd, 0) };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start = clock::thread_cpu_ns();
    for index in 0..EXTENSIONS {
        file.write_all_at(&zeros, (index * EXTENSION) as u64)?;
    }
    for page in 0..len / PAGE {
        // SAFETY: within the mapping, and the file has the page.
        unsafe { mapped.cast::<u8>().add(page * PAGE).write_volatile(1) };
    }
    let spent = clock::thread_cpu_ns() - start;
    // SAFETY: the mapping of above, which nothing refers to.
    unsafe { libc::munmap(mapped, len) };
    fs::remove_file(path)?;
    Ok(spent as f64 / (len / PAGE) as f64)
}

fn a_line_of_maps(buffer_len: usize) -> f64 {
    let mut buffer = vec![0u8; buffer_len];
    let mut lines = 0;
    let start = clock::thread_cpu_ns();
    let fd = call!(openat, libc::AT_FDCWD, c"/proc/thread-self/maps".as_ptr(), libc::O_RDONLY, 0);
    loop {
        let got = call!(read, fd, buffer.as_mut_ptr(), buffer_len) as isize;
        let Some(filled) = usize::try_from(got).ok().filter(|&got| got > 0) else {
            break;
        };
        lines += buffer[..filled].split(|&byte| byte == b'\n').count() - 1;
    }
    call!(close, fd);
    (clock::thread_cpu_ns() - start) as f64 / lines as f64
}
