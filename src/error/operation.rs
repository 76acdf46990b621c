//! The operations that may fail, and the words of their messages: cp's where cp has the message, because users
//! and scripts know them.

/// Declares [`Operation`] and its words.
macro_rules! operations {
    ($($name:ident = $words:literal,)*) => {
        /// An operation that failed, or the reason for refusing one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Operation {
            /// A whole message without a path, such as the reason why options exclude each other.
            Sentence(&'static str),
            $(#[doc = $words] $name,)*
        }

        impl Operation {
            /// Returns the message, with `{}` for a quoted path and `{?}` for a path that is quoted only if a shell
            /// needs it.
            pub(super) fn words(self) -> &'static str {
                match self {
                    Operation::Sentence(words) => words,
                    $(Operation::$name => $words,)*
                }
            }
        }
    };
}

operations! {
    // Looking at and opening a file.
    Access = "cannot access {}",
    Stat = "cannot stat {}",
    Fstat = "cannot fstat {}",
    GetAttributes = "failed to get attributes of {}",
    OpenSource = "cannot open {} for reading",
    OpenDestination = "cannot open {} for writing",
    ReadDirectory = "cannot read {}",
    ReadLink = "cannot read symbolic link {}",
    Read = "error reading {}",
    Write = "error writing {}",
    CopyData = "error copying {} to {}",
    Close = "failed to close {}",
    Clone = "failed to clone {} from {}",
    CopyByCopyFileRange = "cannot copy {} to {} by copy_file_range",
    CopyBySplice = "cannot copy {} to {} by splice",
    CopyBySendfile = "cannot copy {} to {} by sendfile",
    CopyByMmap = "cannot copy {} to {} by mmap",
    CopyByReadWrite = "cannot copy {} to {} by read_write",

    // Making and removing names.
    Create = "cannot create {}",
    CreateFile = "cannot create regular file {}",
    CreateDirectory = "cannot create directory {}",
    MakeLeadingDirectory = "cannot make directory {}",
    CreateHardLink = "cannot create hard link {} to {}",
    CreateFifo = "cannot create fifo {}",
    CreateSpecialFile = "cannot create special file {}",
    CreateSymbolicLink = "cannot create symbolic link {}",
    CreateSymbolicLinkTo = "cannot create symbolic link {} to {}",
    LinkRelatively = "{?}: can make relative symbolic links only in current directory",
    HardLinkToDirectory = "will not create hard link {} to directory {}",
    Remove = "cannot remove {}",
    BackUp = "cannot backup {}",
    UndoBackup = "cannot un-backup {}",

    // Attributes and data on the disk.
    KeepOwnership = "failed to preserve ownership for {}",
    KeepPermissions = "preserving permissions for {}",
    SetPermissions = "setting permissions for {}",
    ClearPermissions = "clearing permissions for {}",
    KeepTimes = "preserving times for {}",
    KeepTimesOfLeading = "failed to preserve times for {}",
    ListAttributes = "listing attributes of {}",
    GetAttribute = "getting attribute {} of {}",
    SetAttribute = "setting attribute {} for {}",
    SetAttributes = "setting attributes for {}",
    SetDefaultContext = "failed to set default file creation context to {}",
    SetContext = "failed to set the security context of {}",
    Sync = "cannot sync {}",
    SyncFileSystem = "cannot sync the file system of {}",

    // Copies that are refused.
    SameFile = "{} and {} are the same file",
    IntoItself = "cannot copy a directory, {}, into itself, {}",
    CyclicLink = "cannot copy cyclic symbolic link {}",
    OmitDirectory = "-r not specified; omitting directory {}",
    DirectoryOverOther = "cannot overwrite non-directory {} with directory {}",
    OtherOverDirectory = "cannot overwrite directory {} with non-directory {}",
    NotDirectory = "{} exists but is not a directory",
    OverJustMade = "will not overwrite just-created {} with {}",
    ThroughJustMadeLink = "will not copy {} through just-created symlink {}",
    ThroughUntrustedLink = "not writing through untrusted symlink {}",
    ThroughDanglingLink = "not writing through dangling symlink {}",
    BackUpOverSource = "backing up {} might destroy source;  {} not copied",
    Replace = "not replacing {}",
    UnknownType = "{} has unknown file type",
    LeaveSource = "{} leads out of the source",
    ReplacedFile = "skipping file {}, as it was replaced while being copied",
    ReplacedDirectory = "skipping directory {}, as it was replaced while being copied",
    ReplacedDestination = "not overwriting {}, as it was replaced while being copied",

    // `--verify`.
    ReadBack = "cannot read back {}",
    VerifyStream = "cannot verify a copy of {}: it can be read only once",
    VerifyUnreadable = "cannot verify {}: it cannot be read back",
    Differ = "verification failed: {} and {} differ at offset {?}",

    // Operands and lists.
    MissingOperand = "missing file operand",
    ExtraOperand = "extra operand {}",
    ExtraOperandOfList = "extra operand {}: --files-from takes one SOURCE, which the names are relative to",
    Target = "target {}",
    TargetDirectory = "target directory {}",
    InvalidPattern = "invalid pattern {}",
    InvalidLine = "{}:{?}",

    // Warnings.
    ExcludedOperand = "warning: a pattern excludes the operand {}",
    Vanished = "warning: names that vanished before they could be copied: {?}",
    RepeatedDirectory = "warning: source directory {} specified more than once",
    RepeatedFile = "warning: source file {} specified more than once",
    Incomplete = "warning: {} is incomplete; --resume continues it",
    RemovedAtSignal = "{} was overwritten in part when a signal came; removed",
    RemovedAtEnd = "{} was overwritten in part when the copy ended early; removed",

    // Jobs.
    Damaged = "{} is damaged",
    ChangedSincePlan = "{} has changed since the plan was made",
    PartVariable = "{} is not a part: {}",
    PartVariables = "{} and {} name different parts; choose one with --part=K",
    NoSuchPart = "there is no part {?} in {}: parts are numbered from 0 to {?}",
    MissingParts = "{} cannot be finished: these parts have not been run: {?}",
    HasBeenRun = "{} holds a job that has been run",
    NoPlan = "{} holds no complete plan",
    OtherVersion = "{} was not written by this version of zcp",
    NotJobFolder = "{} is not empty, and is not a job folder",
    FolderInSource = "the job folder {} is inside SOURCE",
    NotPlannedDirectory = "{} is not the directory that the plan was made for",
    CutOff = "{} was cut off while ranges were written to it",
    LostRanges = "{} is not complete: ranges of it are to be copied again, by part {?}",
    LostRangesOfParts = "{} is not complete: ranges of it are to be copied again, by part {?}; the others are in {}",
    PartFailed = "{}, in {?}: {?}",
    PartFailedBecause = "{}, in {?}: {?}: {?}",
    FurtherFailures = "{?} reported {?} further failures",
    ForeignFile = "not reading {}: it is not a file of this job",
    WritableFile = "not reading {}: others may write to it; run chmod go-w on it",
    ForeignDirectory = "not using {} for a job: it belongs to another user",
    WritableDirectory = "not using {} for a job: others may write to it; run chmod go-w on it",
    SecondName = "not writing to {}: it has got a second name",
    NotMadeByJob = "not writing to {}: it is not the file that this job made",
    ChangedLength = "not writing to {}: its length has changed",
    ChangedOwner = "not writing to {}: its owner or mode has changed",

    // The program.
    Print = "write error",
    OccupyDescriptor = "cannot occupy a closed standard descriptor",
    WriteStatistics = "cannot write statistics to {}",
    WriteLog = "cannot write log to {}",
}
