//! What each question costs that discovery can ask, and each step that surrounds a move: in ns of this
//! thread's CPU time, asked of the same VMAs in turns.

use anyhow::Result;
use clap::Parser;
use mremap_benches::clock;
use mremap_benches::layout::{self, Layout, PAGE, Pattern, Shape};
use mremap_benches::rounds::{self, Variant};
use mremap_plan::procmap::{PROCMAP_QUERY, ProcmapQuery};
use syscalls::{Sysno, raw_syscall};

/// Where, and how often.
#[derive(Debug, Parser)]
struct Options {
    /// VMAs of the process that are not asked about.
    #[arg(long, default_value_t = 0)]
    unrelated: usize,
    /// Rounds.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Questions for one figure.
    #[arg(long, default_value_t = 2000)]
    questions: usize,
}

/// Makes one system call; its arguments are all addresses of live memory, or numbers.
macro_rules! ask {
    ($name:ident $(, $argument:expr)*) => {{
        // SAFETY: asks, or changes only what the question's comment says; lends memory that outlives the call.
        unsafe { raw_syscall!(Sysno::$name $(, $argument)*) }
    }};
}

/// Its name, how many times dearer than a plain one it is to ask, and how it is asked for the nth time.
type Question<'a> = (&'a str, usize, &'a dyn Fn(usize) -> usize);

const VMAS: usize = 64;
/// No VMA can grow to it.
const IMPOSSIBLE: usize = (1 << 47) - 65536;
const NEVER: i32 = libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE | libc::MAP_ANONYMOUS;

fn main() -> Result<()> {
    let options = Options::parse();
    layout::map_unrelated(options.unrelated)?;
    let layout = Layout::new(Shape {
        vmas: VMAS,
        pages: 2,
        gap_pages: 2,
        pattern: Pattern::Alike,
        is_touched: true,
    })?;
    let at = |index: usize| layout.place() + index % VMAS * layout.stride();
    let maps =
        || ask!(openat, libc::AT_FDCWD, c"/proc/thread-self/maps".as_ptr(), libc::O_RDONLY, 0);
    let fd = maps();
    let mut name = [0u8; 256];
    let (name_place, name_room) = (name.as_mut_ptr().addr() as u64, name.len() as u32);
    let program = (main as fn() -> Result<()> as *const ()).addr() as u64;
    let mut mask = u64::MAX;
    let mask_place = (&raw mut mask).addr();
    let query = |address: u64, place: u64, room: u32| {
        let mut query = ProcmapQuery::at_or_above(address, place, room);
        ask!(ioctl, fd, PROCMAP_QUERY, &raw mut query)
    };
    let questions: [Question<'_>; 15] = [
        ("gettid", 1, &|_| ask!(gettid)),
        ("no-op resize", 1, &|i| ask!(mremap, at(i), 2 * PAGE, 2 * PAGE, 0, 0)),
        ("growth, one VMA (ENOMEM)", 1, &|i| ask!(mremap, at(i), 2 * PAGE, IMPOSSIBLE, 0, 0)),
        ("growth, crosses (EFAULT)", 1, &|i| ask!(mremap, at(i), 3 * PAGE, IMPOSSIBLE, 0, 0)),
        ("growth, 64 VMAs (EFAULT)", 1, &|_| ask!(mremap, at(0), layout.len(), IMPOSSIBLE, 0, 0)),
        ("mmap that never maps, mapped (EEXIST)", 1, &|i| {
            ask!(mmap, at(i), PAGE, 0, NEVER, usize::MAX, 0)
        }),
        ("mmap that never maps, free (EINVAL)", 1, &|i| {
            ask!(mmap, at(i) + 2 * PAGE, PAGE, 0, NEVER, usize::MAX, 0)
        }),
        ("mincore, mapped page", 1, &|i| ask!(mincore, at(i), PAGE, mask_place)),
        ("mincore, free page", 1, &|i| ask!(mincore, at(i) + 2 * PAGE, PAGE, mask_place)),
        ("PROCMAP_QUERY, no name, anonymous", 1, &|i| query(at(i) as u64, 0, 0)),
        ("PROCMAP_QUERY, name, anonymous", 1, &|i| query(at(i) as u64, name_place, name_room)),
        ("PROCMAP_QUERY, no name, file", 1, &|_| query(program, 0, 0)),
        ("PROCMAP_QUERY, name, file", 1, &|_| query(program, name_place, name_room)),
        ("open and close maps", 10, &|_| {
            let fd = maps();
            ask!(close, fd)
        }),
        ("rt_sigprocmask", 1, &|_| ask!(rt_sigprocmask, libc::SIG_BLOCK, 0, mask_place, 8)),
    ];
    let mut variants: Vec<Variant<'_>> = Vec::new();
    for (label, dearer, question) in questions {
        let times = options.questions / dearer;
        variants.push((label.to_owned(), Box::new(move || each(question, times))));
    }
    variants.extend(questions_about_all(&layout, (options.questions / VMAS).max(1)));
    // All of maps, by reads of several sizes, in ns for one line.
    for room in [1024, 4096, 65536] {
        variants.push((
            format!("maps as text, a line, reads of {room}"),
            Box::new(move || a_line_of_maps(room)),
        ));
    }
    let series = rounds::run(options.rounds, &mut variants);
    rounds::print(&series);
    Ok(())
}

thread_local! {
    /// Opened once: only asking is timed.
    static PAGEMAP: usize = ask!(openat, libc::AT_FDCWD, c"/proc/self/pagemap".as_ptr(), libc::O_RDONLY, 0);
}

/// `struct pm_scan_arg` of `include/uapi/linux/fs.h`, and its ioctl (Linux 6.7).
#[repr(C)]
#[derive(Default)]
struct ScanArguments {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}
const PAGEMAP_SCAN: usize = 0xc060_6610;

/// Every page that is mapped, whatever is to be said of it: neighbours come as one region.
fn scan_pagemap(range: &std::ops::Range<usize>) -> usize {
    let regions = [[0u64; 3]; 2 * VMAS];
    let mut arguments = ScanArguments {
        size: size_of::<ScanArguments>() as u64,
        start: range.start as u64,
        end: range.end as u64,
        vec: regions.as_ptr().addr() as u64,
        vec_len: regions.len() as u64,
        return_mask: 1 << 1, // PAGE_IS_FILE
        ..ScanArguments::default()
    };
    let fd = PAGEMAP.with(|&fd| fd);
    let found = ask!(ioctl, fd, PAGEMAP_SCAN, &raw mut arguments);
    std::hint::black_box(regions);
    found
}

/// Eight bytes a page, those of gaps and of pages that are not there alike.
fn read_pagemap(range: &std::ops::Range<usize>) -> usize {
    let mut entries = [0u64; 4 * VMAS];
    let (pages, offset) = (range.len() / PAGE, range.start / PAGE * 8);
    let fd = PAGEMAP.with(|&fd| fd);
    ask!(pread64, fd, entries.as_mut_ptr(), pages * 8, offset)
}

/// ns for one question, the mean of so many.
fn each(question: &dyn Fn(usize) -> usize, times: usize) -> f64 {
    let start = clock::thread_cpu_ns();
    for index in 0..times {
        std::hint::black_box(question(index));
    }
    (clock::thread_cpu_ns() - start) as f64 / times as f64
}

/// Questions about all VMAs at once, in ns for one of them. None tells where one VMA ends and another begins.
fn questions_about_all(layout: &Layout, times: usize) -> Vec<Variant<'_>> {
    let whole = layout.place()..layout.place() + layout.len();
    let at = |index: usize| layout.place() + index * layout.stride();
    let ask_all = move |which: usize| match which {
        0 => ask!(msync, whole.start, whole.len(), libc::MS_ASYNC),
        1 => scan_pagemap(&whole),
        2 => {
            let (pages, mut nodes) = (std::array::from_fn::<_, VMAS, _>(at), [0i32; VMAS]);
            ask!(move_pages, 0, VMAS, pages.as_ptr(), 0, nodes.as_mut_ptr(), 0)
        }
        _ => read_pagemap(&whole),
    };
    let names =
        ["msync that writes nothing", "PAGEMAP_SCAN", "move_pages that moves none", "pagemap read"];
    let variants = names.iter().enumerate().map(|(which, name)| -> Variant<'_> {
        let ask_all = ask_all.clone();
        let measure = move || each(&|_| ask_all(which), times) / VMAS as f64;
        (format!("{name}, a VMA of 64"), Box::new(measure))
    });
    variants.collect()
}

fn a_line_of_maps(room: usize) -> f64 {
    let mut buffer = vec![0u8; room];
    let mut lines = 0;
    let start = clock::thread_cpu_ns();
    let fd = ask!(openat, libc::AT_FDCWD, c"/proc/thread-self/maps".as_ptr(), libc::O_RDONLY, 0);
    loop {
        let got = ask!(read, fd, buffer.as_mut_ptr(), room) as isize;
        let Some(filled) = usize::try_from(got).ok().filter(|&got| got > 0) else {
            break;
        };
        lines += buffer[..filled].split(|&byte| byte == b'\n').count() - 1;
    }
    ask!(close, fd);
    (clock::thread_cpu_ns() - start) as f64 / lines as f64
}
