# Atelier on Windows: set up in the folder .venv beside this script, then start.
#   setup.ps1             open the studio in the browser, with the demo preset loaded
#   setup.ps1 test        run all tests
#   setup.ps1 demo        train the demo to the end in this window
# One click: right-click this file, "Run with PowerShell". In a terminal that refuses scripts (execution policy):
#   powershell -ExecutionPolicy Bypass -File setup.ps1
# Only finds a Python; everything that needs a decision is in the package "install".

$ErrorActionPreference = 'Stop'
Set-Location -LiteralPath $PSScriptRoot

$question = 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] < (3, 15) and sys.maxsize > 2**32))'

function Test-Python {
    param(
        [string] $Program,
        [string[]] $Words
    )
    if (-not (Get-Command $Program -ErrorAction SilentlyContinue)) {
        return $false
    }
    # What a Python says on stderr must not stop this script, only its exit code counts.
    $ErrorActionPreference = 'SilentlyContinue'
    & $Program @Words -c $question 2>&1 | Out-Null
    return ($LASTEXITCODE -eq 0)
}

function Wait-Reader {
    # A window opened by a click closes with its last line: keep what went wrong readable.
    if ([Environment]::UserInteractive -and -not [Console]::IsInputRedirected) {
        Read-Host 'Press Enter to close' | Out-Null
    }
}

$candidates = @(
    @('py', '-3.12'),
    @('py', '-3.11'),
    @('py', '-3.13'),
    @('py', '-3.14'),
    @('python'),
    @('python3'),
    @('.venv\Scripts\python.exe')
)

$code = 1
$found = $false
foreach ($candidate in $candidates) {
    $program = $candidate[0]
    $words = @($candidate | Select-Object -Skip 1)
    if (Test-Python -Program $program -Words $words) {
        $found = $true
        & $program @words -m install @args
        $code = $LASTEXITCODE
        break
    }
}

if (-not $found) {
    Write-Host 'Setup stopped. Atelier needs Python 3.11, 3.12, 3.13 or 3.14 (64 bit), and none was found.'
    Write-Host 'Install one from python.org or with "winget install Python.Python.3.12", then run this script again.'
}
if ($code -ne 0) {
    Wait-Reader
}
exit $code
