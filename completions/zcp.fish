complete -c zcp -l backup -d 'Back up each existing destination: none, numbered, existing, simple' -r
complete -c zcp -l no-preserve -d 'Do not preserve these attributes' -r
complete -c zcp -l preserve -d 'Preserve attributes: mode, ownership, timestamps (these three by default), links, context, xattr, all' -r
complete -c zcp -l sparse -d 'Control sparse files: auto (default), always, never' -r
complete -c zcp -l reflink -d 'Control clones: auto (default), always (if no WHEN is given), never' -r
complete -c zcp -s S -l suffix -d 'Use SUFFIX for simple backups; implies --backup' -r
complete -c zcp -s t -l target-directory -d 'Copy all SOURCEs into DIRECTORY' -r -f -a "(__fish_complete_directories)"
complete -c zcp -l update -d 'Which existing files to replace: all, none, none-fail, older (the default if given bare)' -r
complete -c zcp -l context -d 'Like -Z, or set the SELinux or SMACK context to CTX' -r
complete -c zcp -s j -l jobs -d 'Copy with N workers; 1 copies in cp\'s order (default: one a processor)' -r
complete -c zcp -l strategy -d 'Move data only by these paths, in this order: reflink, copy_file_range, splice, sendfile, mmap, read_write; a file that they cannot copy is an error' -r
complete -c zcp -l stats -d 'Report afterwards which kernel path moved how many bytes: text (default), json' -r
complete -c zcp -l stats-file -d 'Write the statistics as JSON to FILE, also if the copy failed' -r -F
complete -c zcp -l progress -d 'Show progress on stderr: auto (default, if it is a terminal), always, never' -r
complete -c zcp -s a -l archive -d 'Same as -dR --preserve=all'
complete -c zcp -l attributes-only -d 'Copy no data, only the attributes'
complete -c zcp -s b -d 'Like --backup, but takes no CONTROL'
complete -c zcp -l copy-contents -d 'Copy the content of special files when recursive'
complete -c zcp -s d -d 'Same as --no-dereference --preserve=links'
complete -c zcp -l debug -d 'Explain how each file is copied; implies -v'
complete -c zcp -s L -l dereference -d 'Follow all symbolic links in SOURCE'
complete -c zcp -s f -l force -d 'Remove a destination that cannot be opened, and try again'
complete -c zcp -s H -d 'Follow symbolic links that are operands'
complete -c zcp -s i -l interactive -d 'Ask before overwriting (overrides a previous -n)'
complete -c zcp -l keep-directory-symlink -d 'Follow existing symbolic links to directories in DEST'
complete -c zcp -s l -l link -d 'Make hard links instead of copying'
complete -c zcp -s n -l no-clobber -d 'Skip existing files silently (overrides a previous -i)'
complete -c zcp -s P -l no-dereference -d 'Never follow symbolic links in SOURCE'
complete -c zcp -s T -l no-target-directory -d 'Treat DEST as a file, never as a directory to copy into'
complete -c zcp -s x -l one-file-system -d 'Stay on this file system'
complete -c zcp -l parents -d 'Use the full source name under DIRECTORY'
complete -c zcp -s p -d 'Same as --preserve=mode,ownership,timestamps'
complete -c zcp -s r -s R -l recursive -d 'Copy directories with all that is in them'
complete -c zcp -l remove-destination -d 'Remove each existing destination before trying to open it'
complete -c zcp -l strip-trailing-slashes -d 'Remove trailing slashes from each SOURCE'
complete -c zcp -s s -l symbolic-link -d 'Make symbolic links instead of copying'
complete -c zcp -s u -d 'Same as --update=older'
complete -c zcp -s v -l verbose -d 'Name each file as it is copied'
complete -c zcp -s Z -d 'Set the default SELinux context of the destination'
complete -c zcp -l help -d 'Print this help'
complete -c zcp -l version -d 'Print the version'
