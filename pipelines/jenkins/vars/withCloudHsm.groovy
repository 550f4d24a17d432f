// An HSM for as long as a block of a pipeline needs it: docs/pipelines.md.
//
//   withCloudHsm(env: 'dev') { sh './sign.sh' }
//
// env        name of the environment, a host of the inventory
// inventory  the inventory (inventory.yml)
// arguments  further arguments of ansible-playbook, parted by blanks ('')
// ensure     false: somebody else has created it, and this block only holds it (true)
//
// It has to stand in a node. Redis and AWS are found by the variables of the environment, which withCredentials sets.
def call(Map args, Closure body) {
    if (!args.env) {
        error('withCloudHsm: env: no environment is named. Call withCloudHsm(env: "dev") { ... }')
    }
    // Ansible evaluates what braces say in a value of -e, and an environment or a job may bear the name of a branch.
    if (!(args.env ==~ /[A-Za-z0-9_.@\/+{}-]+/) || args.env.contains('{{')) {
        error("withCloudHsm: env: '${args.env}' is no name of an environment: letters, digits and any of _ . @ / + { } - are, without {{.")
    }
    String inventory = args.inventory ?: 'inventory.yml'
    // Blocks of one build can run side by side, and each lets go only what it holds itself.
    String id = UUID.randomUUID().toString()
    String folder = "${env.WORKSPACE_TMP ?: env.WORKSPACE + '@tmp'}/cloudhsm-${id}"
    List known = [
        "HSM_ENV=${args.env}", "HSM_FOLDER=${folder}", "HSM_STOP_FILE=${folder}/stop", "HSM_INVENTORY=${inventory}",
        "HSM_ARGUMENTS=${args.arguments ?: ''}",
        "HSM_HOLDER=${(env.BUILD_TAG ?: 'jenkins').replaceAll(/[^A-Za-z0-9_.@\/+-]/, '_').take(190)}-${id.substring(0, 8)}",
    ]
    withEnv(known) {
        writeFile(file: "${folder}/hsm.sh", text: libraryResource('hsmops/cloudhsm/hsm.sh'))
        try {
            if (args.ensure != false) {
                sh(label: 'Have a usable HSM', script: 'ansible-playbook -i "$HSM_INVENTORY" hsmops.cloudhsm.ensure_hsm ' +
                    '-e "env=$HSM_ENV" -e "hsm_holder=$HSM_HOLDER" $HSM_ARGUMENTS')
            }
            // The beat outlives this step. It ends with the release, with its folder, or when Jenkins clears up after the node.
            sh(label: 'Hold the HSM', script: 'sh "$HSM_FOLDER/hsm.sh" hold && ' +
                '{ sh "$HSM_FOLDER/hsm.sh" beat & } </dev/null >"$HSM_FOLDER/beat.log" 2>&1')
            body()
        } finally {
            // The block's own end is what counts, whatever becomes of this.
            sh(label: 'Let the HSM go', returnStatus: true, script: 'sh "$HSM_FOLDER/hsm.sh" release; ' +
                'if [ -e "$HSM_FOLDER/beat.log" ]; then cat "$HSM_FOLDER/beat.log"; fi; rm -rf "$HSM_FOLDER"')
        }
    }
}
