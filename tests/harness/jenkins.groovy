// The shared step of Jenkins by a real Groovy. What Jenkins provides is stood in for: sh is a shell as Jenkins starts it, and a
// step that is cancelled throws. Arguments: the folder of the library, a workspace, and the program that is run as the pipeline.
String library = args[0]
File workspace = new File(args[1])
List given = []

def shell = { Object said ->
    Map wanted = said instanceof Map ? said : [script: said]
    def builder = new ProcessBuilder('sh', '-xe', '-c', wanted.script.toString()).directory(workspace)
    given.each { List each -> each.each { String line -> builder.environment().put(*line.split('=', 2)) } }
    // As Jenkins does, so that a step is over when its shell is, whoever still has its output open.
    File log = File.createTempFile('step', '.log', workspace)
    def process = builder.redirectErrorStream(true).redirectOutput(log).start()
    process.outputStream.close()
    int status = process.waitFor()
    print(log.text)
    if (status && !wanted.returnStatus) {
        throw new IllegalStateException("script returned exit code ${status}")
    }
    return wanted.returnStatus ? status : null
}
def steps = new Binding(
    env: [WORKSPACE: workspace.path, WORKSPACE_TMP: "${workspace.path}@tmp", BUILD_TAG: 'jenkins-a {{b}}-7'],
    sh: shell,
    error: { String message -> throw new IllegalArgumentException(message) },
    libraryResource: { String path -> new File(library, "resources/${path}").text },
    withEnv: { List variables, Closure body -> given.push(variables*.toString()); try { body() } finally { given.pop() } },
    writeFile: { Map file -> File path = new File(file.file.toString()); path.parentFile.mkdirs(); path.text = file.text },
)
def step = new GroovyShell(steps).parse(new File(library, 'vars/withCloudHsm.groovy'))
steps.setVariable('withCloudHsm', { Map map, Closure body -> step.call(map, body) })
steps.setVariable('attempt', { Closure body -> try { body() } catch (Exception failure) { println("CAUGHT ${failure.message}") } })
new GroovyShell(steps).evaluate(new File(args[2]))
