//! The first process of a container that tests share, and what starts each test in it.
//!
//! An image may have no program that waits. This one runs in every image, since it needs no library and no other
//! file. It ignores `SIGCHLD`, so that the kernel removes ended processes without a parent.
//!
//! With arguments, it first looks for other processes than itself and the first one. Then it becomes the first
//! program of the arguments that it can execute. Engines have no quick way to list processes: `top` needs `ps` on the
//! engine's machine.

/// Its path in the container.
pub(super) const PATH: &str = "/.rebuild-init";
/// It ends with this code if there is another process.
pub(super) const NOT_ALONE: i64 = 125;
/// Where engines look for programs if the image has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Its arguments to run a program: the places of the program, an empty one, and the program's own arguments.
pub(super) fn argv(program: &[String], path: Option<&str>) -> Vec<String> {
    let name = program.first().map_or("", String::as_str);
    let places: Vec<String> = if name.contains('/') {
        vec![name.to_owned()]
    } else {
        let folders = path.unwrap_or(DEFAULT_PATH).split(':');
        let folders = folders.map(|folder| if folder.is_empty() { "." } else { folder });
        folders.map(|folder| format!("{folder}/{name}")).collect()
    };
    let own = [PATH.to_owned()].into_iter().chain(places);
    own.chain([String::new()]).chain(program.iter().cloned()).collect()
}

const X86_64: &[u8] = &[
    0x48, 0x8b, 0x04, 0x24, // mov rax, [rsp]: the number of arguments
    0x83, 0xf8, 0x01, // cmp eax, 1
    0x74, 0x53, // je idle
    0xb8, 0x3e, 0, 0, 0, // mov eax, 62 (kill)
    0x48, 0xc7, 0xc7, 0xff, 0xff, 0xff,
    0xff, // mov rdi, -1: every other process but the first
    0x31, 0xf6, // xor esi, esi: no signal
    0x0f, 0x05, // syscall
    0xbf, 0x7d, 0, 0, 0, // mov edi, 125
    0x83, 0xf8, 0xfd, // cmp eax, -3 (ESRCH)
    0x75, 0x32, // jne exit
    0x48, 0x8d, 0x5c, 0x24, 0x10, // lea rbx, [rsp + 16]: the first place
    0x48, 0x89, 0xde, // mov rsi, rbx
    0x48, 0xad, // own: lodsq
    0x80, 0x38, 0x00, // cmp byte [rax], 0
    0x75, 0xf9, // jne own
    0x48, 0x8b, 0x04, 0x24, // mov rax, [rsp]
    0x48, 0x8d, 0x54, 0xc4, 0x10, // lea rdx, [rsp + rax * 8 + 16]: the environment
    0x48, 0x8b, 0x3b, // next: mov rdi, [rbx]
    0x80, 0x3f, 0x00, // cmp byte [rdi], 0
    0x74, 0x0d, // je none
    0xb8, 0x3b, 0, 0, 0, // mov eax, 59 (execve)
    0x0f, 0x05, // syscall
    0x48, 0x83, 0xc3, 0x08, // add rbx, 8
    0xeb, 0xeb, // jmp next
    0xbf, 0x7f, 0, 0, 0, // none: mov edi, 127
    0xb8, 0x3c, 0, 0, 0, // exit: mov eax, 60 (exit)
    0x0f, 0x05, // syscall
    0xbf, 0x11, 0, 0, 0, // idle: mov edi, 17 (SIGCHLD)
    0x48, 0x8d, 0x35, 0x18, 0, 0, 0, // lea rsi, [rip + 24]: what follows this code
    0x31, 0xd2, // xor edx, edx
    0x41, 0xba, 0x08, 0, 0, 0, // mov r10d, 8
    0xb8, 0x0d, 0, 0, 0, // mov eax, 13 (rt_sigaction)
    0x0f, 0x05, // syscall
    0xb8, 0x22, 0, 0, 0, // wait: mov eax, 34 (pause)
    0x0f, 0x05, // syscall
    0xeb, 0xf7, // jmp wait
];

const ARM64: &[u32] = &[
    0xf940_03f3, // ldr x19, [sp]: the number of arguments
    0xf100_067f, // cmp x19, 1
    0x5400_0320, // b.eq idle
    0x9280_0000, // mov x0, -1: every other process but the first
    0xd280_0001, // mov x1, 0: no signal
    0xd280_1028, // mov x8, 129 (kill)
    0xd400_0001, // svc 0
    0xaa00_03e2, // mov x2, x0
    0xd280_0fa0, // mov x0, 125
    0xb100_0c5f, // cmn x2, 3 (ESRCH)
    0x5400_01e1, // b.ne exit
    0x9100_43f4, // add x20, sp, 16: the first place
    0xaa14_03e1, // mov x1, x20
    0xf840_8423, // own: ldr x3, [x1], 8
    0x3940_0063, // ldrb w3, [x3]
    0x35ff_ffc3, // cbnz w3, own
    0x8b33_6fe2, // add x2, sp, x19, lsl 3
    0x9100_4042, // add x2, x2, 16: the environment
    0xf840_8680, // next: ldr x0, [x20], 8
    0x3940_0003, // ldrb w3, [x0]
    0x3400_0083, // cbz w3, none
    0xd280_1ba8, // mov x8, 221 (execve)
    0xd400_0001, // svc 0
    0x17ff_fffb, // b next
    0xd280_0fe0, // none: mov x0, 127
    0xd280_0ba8, // exit: mov x8, 93 (exit)
    0xd400_0001, // svc 0
    0xd280_0220, // idle: mov x0, 17 (SIGCHLD)
    0x1000_0181, // adr x1, +48: what follows this code
    0xd280_0002, // mov x2, 0
    0xd280_0103, // mov x3, 8
    0xd280_10c8, // mov x8, 134 (rt_sigaction)
    0xd400_0001, // svc 0
    0xd280_0000, // wait: mov x0, 0
    0xd280_0001, // mov x1, 0
    0xd280_0002, // mov x2, 0
    0xd280_0003, // mov x3, 0
    0xd280_0928, // mov x8, 73 (ppoll: there is no pause)
    0xd400_0001, // svc 0
    0x17ff_fffa, // b wait
];

/// The kernel's `struct sigaction`: `SIG_IGN`, no flags, no restorer, an empty mask.
const IGNORE: [u64; 4] = [1, 0, 0, 0];

/// An executable for a processor, as images name it; `None` for other processors than these two.
pub(super) fn program(architecture: &str) -> Option<Vec<u8>> {
    let (machine, mut code) = match architecture {
        "amd64" => (62, X86_64.to_vec()),
        "arm64" => (183, ARM64.iter().flat_map(|word| word.to_le_bytes()).collect()),
        _ => return None,
    };
    code.extend(IGNORE.iter().flat_map(|word| word.to_le_bytes()));
    Some(elf(machine, &code))
}

/// A static ELF executable of one segment. The fields are those of `man 5 elf`.
fn elf(machine: u16, code: &[u8]) -> Vec<u8> {
    const ADDRESS: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let short = |file: &mut Vec<u8>, values: &[u16]| {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    let word = |file: &mut Vec<u8>, values: &[u32]| {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    let long = |file: &mut Vec<u8>, values: &[u64]| {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    // Executable, its machine, version.
    short(&mut file, &[2, machine]);
    word(&mut file, &[1]);
    // Entry, offset of the program header, no section headers, no flags.
    long(&mut file, &[ADDRESS + HEADERS, 64, 0]);
    word(&mut file, &[0]);
    // Sizes and numbers of headers.
    short(&mut file, &[64, 56, 1, 0, 0, 0]);
    // Loaded, readable and executable: the whole file.
    word(&mut file, &[1, 5]);
    long(&mut file, &[0, ADDRESS, ADDRESS, size, size, 0x1_0000]);
    file.extend(code);
    file
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

    use tempfile::TempDir;

    use super::*;

    fn executable() -> (TempDir, PathBuf) {
        let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("init");
        fs::write(&path, program(architecture).unwrap()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
        (folder, path)
    }

    #[test]
    fn without_arguments_it_waits_and_removes_ended_processes() {
        let (_folder, path) = executable();
        // Its process is that of the shell, and gets a child that ends.
        let script = format!("sleep 0.1 & exec {}", path.display());
        let mut init = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        let own = format!("/proc/{}", init.id());
        let read = |file: &str| fs::read_to_string(format!("{own}/{file}")).unwrap();
        let children = format!("task/{}/children", init.id());
        let began = std::time::Instant::now();
        let (mut is_ours, mut is_alone) = (false, false);
        while !(is_ours && is_alone) && began.elapsed().as_secs() < 10 {
            is_ours = read("comm").trim() == "init";
            is_alone = is_ours && read(&children).trim().is_empty();
            std::thread::yield_now();
        }
        let ended = init.try_wait().unwrap();
        init.kill().unwrap();
        init.wait().unwrap();
        assert_eq!((is_ours, is_alone, ended), (true, true, None));
    }

    #[test]
    fn among_other_processes_it_starts_nothing() {
        let (_folder, path) = executable();
        let ended = Command::new(path).args(["/bin/echo", "", "echo", "x"]).output().unwrap();
        let code = ended.status.code().map(i64::from);
        assert_eq!((code, ended.stdout.is_empty()), (Some(NOT_ALONE), true));
    }

    #[test]
    fn programs_are_looked_for_where_the_image_says() {
        let program = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (given, path, places) in [
            (&["ls", "-l"][..], Some("/bin::/opt"), &["/bin/ls", "./ls", "/opt/ls"][..]),
            (&["./ls"], Some("/bin"), &["./ls"]),
            (&["/bin/ls", ""], None, &["/bin/ls"]),
        ] {
            let expected = [&[PATH], places, &[""], given].concat();
            assert_eq!(argv(&program(given), path), program(&expected));
        }
        assert_eq!(argv(&program(&["ls"]), None).len(), 1 + 6 + 1 + 1);
    }

    #[test]
    fn other_processors_have_none() {
        let sizes = ["amd64", "arm64", "riscv64"].map(|it| program(it).map(|it| it.len()));
        assert_eq!(sizes, [Some(280), Some(312), None]);
    }
}
