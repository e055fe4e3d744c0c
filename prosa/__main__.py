from prosa.cli import main

main()
